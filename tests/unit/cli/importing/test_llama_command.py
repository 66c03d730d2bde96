"""A llama-server's command line as keys, and what is left over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.importing.llama_command import NoCounterpart, is_llama_server, read_arguments
from orchestrator.config.llama_flags import BY_KEY, extra_mistakes


def read(words):
    return read_arguments(words.split(), str)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("-c 8192 -np 1", {"context_size": 8192}),
        ("-c 8192 -np 4", {"slots": 4, "unified_cache": False, "context_size": 2048}),
        ("-c 8192 --parallel 4 -kvu", {"slots": 4, "context_size": 8192}),
        ("-c 1 -ngl 20", {"context_size": 1, "gpu_layers": 20}),
        ("-c 1 -ngl 999 -t -1 -n -1", {"context_size": 1}),
        ("-c 1 -ngl all -fa auto", {"context_size": 1}),
        ("-c 1 --device none", {"context_size": 1, "gpu_layers": 0}),
        ("-c 1 -fa off --no-jinja", {"context_size": 1, "flash_attention": False, "jinja": False}),
        ("-c 1 -fa --mlock", {"context_size": 1, "load_mode": "mmap+mlock"}),
        ("-c 1 --no-mmap --mlock", {"context_size": 1, "load_mode": "mlock"}),
        ("-c 1 -ub 4096", {"context_size": 1, "ubatch": 4096, "batch": 4096}),
        ("-c 1 --embeddings", {"context_size": 1, "embeddings": True}),
        ("-c 1 -ctk Q8_0", {"context_size": 1, "cache_type_k": "q8_0"}),
        (
            "-c 1 --ctx-checkpoints=8 --cache-ram 0",
            {"context_size": 1, "context_checkpoints": 8, "host_cache_mb": 0},
        ),
        ("-c 1 -mm p.gguf --lora a,b", {"context_size": 1, "mmproj": "p.gguf", "lora": ["a", "b"]}),
        (
            "-c 1 --lora a --lora-scaled b:0.5,c:2",
            {
                "context_size": 1,
                "lora": ["a", {"file": "b", "scale": 0.5}, {"file": "c", "scale": 2.0}],
            },
        ),
        ("-c 1 -ts 3,1", {"context_size": 1, "span": 2}),
    ],
)
def test_flags_are_keys(words, keys):
    assert read(f"-m a.gguf {words}").keys == {"file": "a.gguf", **keys}


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("-hf org/repo", "org/repo:Q4_K_M"),
        ("-hf org/repo:Q8_0", "org/repo:Q8_0"),
        ("-hf org/repo:Q8_0 -hff a.gguf", "org/repo:a.gguf"),
        ("--model-url https://huggingface.co/org/repo/resolve/main/a.gguf?x=1", "org/repo:a.gguf"),
    ],
)
def test_files_of_a_hub(words, file):
    assert read(f"{words} -c 1").keys == {"file": file, "auto_download": True, "context_size": 1}


@pytest.mark.parametrize(
    "words",
    ["", "-mu https://elsewhere/a.gguf", "-hf repo-alone", "-m a --models-dir b", "-dr ai/b"],
)
def test_a_command_without_a_file_of_ours_stays_one(words):
    with pytest.raises(NoCounterpart):
        read(words)


def test_what_is_left_over_is_the_models_own():
    found = read(
        "-m a -c 1 --temp 0.6 --seed -1 --host 0.0.0.0 --port 1 --samplers top_k;top_p --metrics"
    )
    assert found.keys["extra_args"] == [
        "--temp",
        "0.6",
        "--seed",
        "-1",
        "--samplers",
        "top_k;top_p",
    ]
    assert found.notes == []
    assert found.moves is None
    assert read("-m a -ot x=CPU").moves == "-ot"


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ("-m a", "no context is said"),
        ("-m a -c 0", "no context is said"),
        ("-m a -c 1 --api-key b", "--api-key is left out"),
        ("-m a -c 1 --mmproj-url b", "--mmproj-url is left out"),
        ("-m a -c 1 -np 1000", "-np 1000 is left out"),
        ("-m a -c 1 -ctk q3", "-ctk q3 is left out"),
        ("-m a -c 1 -cram -1", "--cache-ram without a limit"),
        ("-m a -c 1 -sm row", "--split-mode row"),
        ("-m a -c 1 -mg 1", "which GPU is left out"),
        ("-m a -c 1 --fit on", "--fit is left out"),
        ("-m a -c 1 -fa off -ctv q8_0", "flash attention stays on"),
        ("-m a -c 1 -lm new", "--load-mode new"),
        ("-hf a/b:c -c 1 --no-mmproj", "--no-mmproj is left out"),
    ],
)
def test_what_no_key_says_is_said(words, note):
    assert any(found.startswith(note) for found in read(words).notes)


@pytest.mark.parametrize(
    ("program", "is_one"),
    [
        ("llama-server", True),
        ("/opt/llama-server-b9000", True),
        ("C:\\llama\\llama-server.exe", True),
        ("llama_server", True),
        ("/opt/llama-server/run.sh", False),
        ("whisper-server", False),
    ],
)
def test_a_llama_server_is_known_by_its_name(program, is_one):
    assert is_llama_server(program) is is_one


def test_what_opens_a_machine_is_left_out_and_takes_nothing_along():
    words = ["-m", "a", "--agent", "--props", "--tools", "all", "--ui-mcp-proxy", "--top-k", "2"]
    found = read_arguments(words, str)
    assert found.keys["extra_args"] == ["--top-k", "2"]
    left = [note.split()[0] for note in found.notes if "left out" in note]
    assert left == ["--agent", "--props", "--tools", "--ui-mcp-proxy"]


FLAGS = sorted({*(flag for flags in BY_KEY.values() for flag in flags), "--port", "--temp", "-ot"})


@given(st.lists(st.sampled_from([*FLAGS, "1", "-1", "on", "x", "", "q8_0", "3,1", "a/b:c", "="])))
def test_no_command_line_breaks_it_and_what_is_left_over_is_never_refused(words):
    try:
        found = read_arguments(["-m", "a", *words], str)
    except NoCounterpart:
        return
    refused = [wrong.sentence for wrong in extra_mistakes(tuple(found.extra_args))]
    assert all("no flag" in sentence for sentence in refused)
