"""Asking the engine's planner: with stand-ins that misbehave, and with the real one."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from orchestrator.gguf.dry_run import DryRuns, Planner, dry_run, find_planner
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.footprint import MIB, Method, Share
from orchestrator.gguf.header import Header
from orchestrator.gguf.reader import read_header
from orchestrator.gguf.settings import Settings
from tests.parts import require
from tests.unit.gguf.gguf_files import F32, TensorShape, write_model
from tests.unit.gguf.shapes import write_shape

BUILD = Path(__file__).parents[2] / "tools" / "build_llama_cpp.sh"
ONE_GPU = """\
| memory breakdown [MiB]     | total    free    self   model   context   compute    unaccounted |
|   - RPC0 (127.0.0.1:50871) | 24105 = 24105 + (5025 =  4650 +     256 +     118) +       -5025 |
|   - Host                   |                   315 =   281 +       0 +      34                |
|   - CPU_REPACK             |                  1415 =  1415 +       0 +       0                |
done
"""

Script = Callable[[str], Planner]


@pytest.fixture
def planner(tmp_path: Path) -> Script:
    """A planner whose server is the given shell script; its runs are lines in `calls`."""

    def write(script: str) -> Planner:
        server = tmp_path / "llama-server"
        server.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{script}\n')
        server.chmod(0o755)
        return Planner(server, "test")

    return write


@pytest.fixture
def model(tmp_path: Path) -> Header:
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.embedding_length": 8,
    }
    return read_header(write_model(tmp_path / "m.gguf", metadata, [("t", (8,), F32)], whole=True))


def answering(table: str) -> str:
    return f"cat <<'END'\n{table}END\nexec sleep 60"


def calls(model: Header) -> list[str]:
    return (model.path.parent / "calls").read_text().splitlines()


def test_the_table_is_enough_and_the_server_is_not_waited_for(
    planner: Script, model: Header
) -> None:
    started_s = monotonic()
    answer = dry_run(model, Settings(), planner(answering(ONE_GPU)))
    assert monotonic() - started_s < 5
    assert answer.method is Method.DRY_RUN
    # Every number was cut to whole MiB by the planner, so each is rounded up again.
    assert answer.devices == (Share(4651 * MIB, 257 * MIB, 119 * MIB, 600 * MIB),)
    assert answer.host == Share((282 + 1416) * MIB, 0, 35 * MIB)


def test_every_setting_is_passed_explicitly(planner: Script, model: Header) -> None:
    asked = Settings(
        context_size=4096,
        slots=2,
        unified_cache=False,
        cache_type_k="q8_0",
        gpu_layers=7,
        flash_attention=False,
        n_cpu_moe=3,
    )
    dry_run(model, asked, planner(answering(ONE_GPU)))
    (line,) = calls(model)
    for words in (
        f"-m {model.path}",
        "-c 4096 -np 2 -b 2048 -ub 512 -ctk q8_0 -ctv f16 -ngl 7 -fa off -ncmoe 3",
        "--no-kv-unified",
        "--fit on",
        "--host 127.0.0.1 --port 0",
        "--offline",
    ):
        assert words in line


def test_without_a_gpu_none_is_used(planner: Script, model: Header) -> None:
    on_host = ONE_GPU.replace(ONE_GPU.splitlines()[1] + "\n", "")
    answer = dry_run(model, Settings(tensor_split=()), planner(answering(on_host)))
    assert answer.devices == ()
    assert "-dev none" in calls(model)[0]


TWO_GPUS = """\
| memory breakdown [MiB] | total    free     self   model   context   compute    unaccounted |
|   - CUDA0 (RTX 4090)   | 24564 = 23000 + (2616 = 2300 +     256 +      60) +        964 |
|   - CUDA1 (RTX 4090)   | 24564 = 23000 + (2666 = 2350 +     256 +      60) +        964 |
|   - Host               |                   355 =  281 +       0 +      74                |
done
"""


@pytest.mark.parametrize(
    ("table", "count", "complaint"),
    [
        (ONE_GPU, 3, "planned for 1 GPUs, not for 3 GPUs"),
        (TWO_GPUS, 1, "planned for 2 GPUs, not for 1 GPUs and the host: .* CUDA0, CUDA1, Host"),
        (TWO_GPUS, 0, "planned for 2 GPUs, not for 0 GPUs"),
        (TWO_GPUS.replace("Host", "Hosp"), 2, "planned for no host"),
    ],
)
def test_answers_for_other_gpus_than_asked_are_no_answer(
    planner: Script, model: Header, table: str, count: int, complaint: str
) -> None:
    with pytest.raises(GgufError, match=complaint):
        dry_run(model, Settings(tensor_split=(1.0,) * count), planner(answering(table)))


@pytest.mark.parametrize(
    ("count", "words"), [(0, "-dev none"), (1, "-dev CUDA0 "), (2, "-dev CUDA0,CUDA1 ")]
)
def test_a_real_gpu_that_the_model_is_not_given_is_not_planned_for(
    planner: Script, model: Header, count: int, words: str
) -> None:
    rows = TWO_GPUS.splitlines(keepends=True)
    table = "".join([rows[0], *rows[1 : 1 + count], *rows[3:]])
    answer = dry_run(model, Settings(tensor_split=(1.0,) * count), planner(answering(table)))
    assert len(answer.devices) == count
    assert answer.host == Share(282 * MIB, 0, 75 * MIB), "no GPU's bytes among the host's"
    assert words in calls(model)[0]


def test_a_server_that_fails_is_quoted(planner: Script, model: Header) -> None:
    failing = planner("echo starting; echo '0.1 E load: error loading model: bad shape'; exit 1")
    with pytest.raises(GgufError, match=r"could not plan .*m\.gguf: .*bad shape"):
        dry_run(model, Settings(), failing)


def test_a_server_that_says_nothing_is_given_up_at_the_deadline(
    planner: Script, model: Header
) -> None:
    started_s = monotonic()
    with pytest.raises(GgufError, match=r"no answer within 0\.2 s"):
        dry_run(model, Settings(), planner("exec sleep 60"), deadline_s=0.2)
    assert monotonic() - started_s < 5


def test_a_server_that_cannot_be_started_says_so(model: Header, tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="cannot be started"):
        dry_run(model, Settings(), Planner(tmp_path / "absent", "test"))


def test_a_truncated_file_is_refused_before_the_server_is_started(
    planner: Script, model: Header
) -> None:
    os.truncate(model.path, model.file_bytes - 1)
    with pytest.raises(GgufError, match="is truncated"):
        dry_run(read_header(model.path), Settings(), planner(answering(ONE_GPU)))
    assert not (model.path.parent / "calls").exists()


def test_the_same_question_is_asked_once(planner: Script, model: Header) -> None:
    runs = DryRuns(planner(answering(ONE_GPU)))
    first = runs.estimate(model, Settings(context_size=4096))
    assert runs.estimate(read_header(model.path), Settings(context_size=4096)) == first
    assert len(calls(model)) == 1
    runs.estimate(model, Settings(context_size=8192))
    assert len(calls(model)) == 2
    os.utime(model.path, (1, 1))
    runs.estimate(read_header(model.path), Settings(context_size=4096))
    assert len(calls(model)) == 3


def test_a_plan_without_a_gpu_is_another_question_than_one_with_it(
    planner: Script, model: Header
) -> None:
    runs = DryRuns(planner(answering(ONE_GPU)))
    assert len(runs.estimate(model, Settings()).devices) == 1
    with pytest.raises(GgufError, match="not for 0 GPUs"):
        runs.estimate(model, Settings(tensor_split=()))


def test_a_missing_binary_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match=r"llama-server does not exist: .*build_llama_cpp\.sh"):
        find_planner(tmp_path)


def test_a_missing_stand_in_for_gpus_is_named(planner: Script) -> None:
    folder = planner("echo version: 1").server.parent
    assert find_planner(folder).version == "version: 1"
    with pytest.raises(GgufError, match="ggml-rpc-server does not exist"):
        find_planner(folder, pretend_gpus=True)


def test_a_binary_of_another_machine_is_found_out_at_once(planner: Script) -> None:
    folder = planner("kill -ILL $$").server.parent
    with pytest.raises(GgufError, match="does not run on this machine"):
        find_planner(folder)


@pytest.fixture(scope="module")
def real() -> Planner:
    """llama.cpp with pretend GPUs, where it has been built."""
    require("llama_cpp")
    found = subprocess.run([BUILD, "--check"], capture_output=True, text=True, check=True)
    return find_planner(Path(found.stdout.strip()), pretend_gpus=True)


@pytest.mark.parametrize(
    ("shape", "asked"),
    [
        ("qwen2-7b", Settings(context_size=8192)),
        ("qwen2-7b", Settings(context_size=8192, gpu_layers=14, cache_type_k="q8_0")),
        ("qwen2-7b", Settings(context_size=8192, tensor_split=())),
        ("mixtral-8x7b", Settings(context_size=8192, tensor_split=(3.0, 1.0))),
        ("mixtral-8x7b", Settings(context_size=8192, n_cpu_moe=8)),
        ("gemma2-9b", Settings(context_size=8192, slots=2, unified_cache=False)),
        ("granite4-tiny", Settings(context_size=8192, flash_attention=False)),
        ("mamba2-2.7b", Settings(context_size=8192)),
    ],
)
def test_the_real_planner_and_the_header_agree(
    real: Planner, tmp_path: Path, shape: str, asked: Settings
) -> None:
    header = read_header(write_shape(shape, tmp_path / "model.gguf", whole=True))
    planned, predicted = dry_run(header, asked, real), estimate(header, asked)
    pairs = [*zip(planned.devices, predicted.devices, strict=True), (planned.host, predicted.host)]
    for share, guess in pairs:
        slack = 3 * MIB + 0.02 * share.planned_bytes
        assert guess.planned_bytes == pytest.approx(share.planned_bytes, abs=slack)


def test_adapters_are_added_because_the_planner_leaves_them_out(
    planner: Script, model: Header, tmp_path: Path
) -> None:
    tensors: list[TensorShape] = [("blk.0.attn_q.weight.lora_a", (256, 1024), F32)]
    lora = write_model(tmp_path / "lora.gguf", {"general.architecture": "llama"}, tensors)
    runs = DryRuns(planner(answering(ONE_GPU)))
    alone = runs.estimate(model, Settings())
    adapted = runs.estimate(model, Settings(loras=(read_header(lora),)))
    assert adapted.devices == (alone.devices[0] + Share(MIB),)
