from dataclasses import replace

import pytest

from orchestrator.config.bodies import ONLY_IN_FILE
from orchestrator.config.llama_flags import extra_mistakes
from orchestrator.config.sections import ServiceEntry
from orchestrator.config.services import service_mistakes
from orchestrator.core.values.residents import Placement
from orchestrator.core.values.specs import Serving
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.engines.llama.argv import (
    device_environment,
    effective_load_mode,
    server_arguments,
)
from orchestrator.engines.llama.flags import Flags
from orchestrator.engines.xllamacpp.flags import FLAGS
from tests.unit.engines.launched import ON_HOST, spec_of

ONE_GPU = Placement(((DeviceId("GPU-a"), 8 * GiB), (DeviceId("host"), GiB)))
TWO_GPUS = Placement(((DeviceId("GPU-b"), 6 * GiB), (DeviceId("GPU-a"), 3 * GiB)))
NEWER = replace(FLAGS, names=FLAGS.names | {"--device"})
OLD = Flags(
    names=frozenset({"-m", "-fa", "--no-mmap", "--mlock", "--metrics", "--slots", "--embedding"}),
    valued=frozenset({"-m"}),
)


def arguments(placement=ONE_GPU, flags=NEWER, serving=None, **changes) -> str:
    spec = spec_of(file="/models/a.gguf", serving=serving or Serving(), **changes)
    return " ".join(server_arguments(spec, placement, flags, physical_cores=6))


def test_everything_that_costs_bytes_is_said():
    serving = Serving(
        context_size=8192, slots=2, cache_type_k="q8_0", cache_type_v="q4_0", batch=512, ubatch=128
    )
    said = arguments(serving=serving)
    for words in (
        "-m /models/a.gguf",
        "-c 8192 -np 2",
        "-ctk q8_0 -ctv q4_0",
        "-b 512 -ub 128",
        "--kv-unified",
        "--cache-ram 0",
        "--ctx-checkpoints 3",
        "--fit off",
        "-ngl 999",
        "-fa on",
        "-t 6",
        "--load-mode none",
        "--host {host} --port {port}",
        "--metrics --slots",
        "--alias smol",
        "--jinja",
        "--cors-origins localhost",
        "--no-ui",
    ):
        assert words in said, words


# With these whoever may ask a server runs programs, reads files or reaches addresses by it.
DANGEROUS = (
    *("--tools", "--tools-runtime", "--mcp-servers-config", "--mcp-servers-json", "--agent", "-ag"),
    *("--ui-mcp-proxy", "--webui-mcp-proxy", "--media-path", "--path", "--props"),
)
EVERY = replace(FLAGS, names=FLAGS.names | {*DANGEROUS, "--device", "--cors-credentials"})


def test_launch_has_no_dangerous_flag():
    """Not of itself, and by no word of an operator or of a caller of the API."""
    for placement in (ONE_GPU, TWO_GPUS, ON_HOST):
        for closed in (False, True):
            spec = spec_of(file="/models/a.gguf", mmproj="/models/p.gguf", serving=Serving())
            words = server_arguments(spec, placement, EVERY, physical_cores=6, closed=closed)
            assert not {*words} & {*DANGEROUS}
            assert words[words.index("--cors-origins") + 1] == "localhost"
    for flag in DANGEROUS:
        for form in (flag, f"{flag}=all", flag[:2] + flag[2:].replace("-", "_")):
            told = [mistake.sentence for mistake in extra_mistakes(("--top-k", "1", form, "all"))]
            assert told, form
        variable = "LLAMA_ARG_" + flag.strip("-").upper().replace("-", "_")
        service = ServiceEntry(engine="llama_cpp", models_dir="/m", env=(f"{variable}=1",))
        assert any(mistake.where == ("env", 0) for mistake in service_mistakes(service)), variable
    for key in ("extra_args", "env", "command"):
        assert key in ONLY_IN_FILE


def test_a_closed_server_takes_its_key_out_of_a_file_and_shows_no_slots():
    spec = spec_of(file="/models/a.gguf", serving=Serving())
    argv = server_arguments(spec, ONE_GPU, NEWER, physical_cores=6, closed=True)
    said = " ".join(argv)
    assert "--api-key-file {key_file}" in said
    assert "--metrics --no-slots" in said
    assert "--api-key " not in said
    assert "--api-key-file" not in arguments()


def test_a_divided_cache_is_launched_with_a_context_for_each_slot():
    serving = Serving(context_size=4096, slots=3, unified_cache=False)
    assert serving.total_context == 12288
    assert "-c 12288 -np 3" in arguments(serving=serving)
    assert "--no-kv-unified" in arguments(serving=serving)


def test_on_the_host_nothing_is_offloaded_and_no_gpu_is_seen():
    said = arguments(ON_HOST, mmproj="/models/p.gguf")
    assert "-ngl 0 --device none --no-mmproj-offload" in said
    assert "--load-mode mmap" in said
    assert device_environment(ON_HOST)["CUDA_VISIBLE_DEVICES"] == ""


def test_gpus_are_shown_by_uuid_and_split_in_the_order_of_the_placement():
    assert device_environment(TWO_GPUS)["CUDA_VISIBLE_DEVICES"] == "GPU-b,GPU-a"
    assert "-sm layer -ts 6144,3072" in arguments(TWO_GPUS)


def test_host_ram_beside_a_gpu_is_no_part_of_the_split():
    assert device_environment(ONE_GPU)["CUDA_VISIBLE_DEVICES"] == "GPU-a"
    assert "-ts" not in arguments(ONE_GPU).split()


@pytest.mark.parametrize(
    ("serving", "placement", "mode"),
    [
        (Serving(), ONE_GPU, "none"),
        (Serving(gpu_layers=10), ONE_GPU, "mmap"),
        (Serving(), ON_HOST, "mmap"),
        (Serving(load_mode="mlock"), ONE_GPU, "mlock"),
    ],
)
def test_load_mode_follows_where_the_layers_go(serving, placement, mode):
    assert effective_load_mode(serving, placement) == mode


def test_an_older_server_is_told_in_its_own_words():
    said = arguments(flags=OLD, serving=Serving(embeddings=True)).split()
    assert "--no-mmap" in said
    assert "--embedding" in said
    assert said[said.index("-fa") + 1] != "on"
    assert not {"--fit", "--cache-ram", "--load-mode", "--kv-unified", "--no-ui"} & set(said)


def test_flash_attention_off():
    assert "-fa off" in arguments(serving=Serving(flash_attention=False))
    assert "-fa" not in arguments(serving=Serving(flash_attention=False), flags=OLD).split()


def test_embeddings_use_one_batch_size_because_the_server_would():
    said = arguments(serving=Serving(embeddings=True, batch=2048, ubatch=512))
    assert "-b 512 -ub 512" in said
    assert "--embeddings" in said


def test_projector_adapters_answer_length_and_threads():
    said = arguments(
        mmproj="/models/p.gguf",
        lora=("/models/x.gguf", "/models/y.gguf"),
        serving=Serving(max_tokens=512, threads=3, jinja=False, gpu_layers=12, host_cache_mb=256),
    )
    assert "--mmproj /models/p.gguf --lora /models/x.gguf,/models/y.gguf" in said
    for words in ("-n 512", "-t 3", "--no-jinja", "-ngl 12", "--cache-ram 256"):
        assert words in said


def test_adapters_have_scales_in_one_list():
    said = arguments(lora=("/x.gguf", "/y.gguf"), lora_scales=(1.0, 0.25))
    assert " --lora-scaled /x.gguf:1,/y.gguf:0.25 " in said
    assert "--lora " not in said


def test_an_older_server_is_told_adapters_one_by_one():
    said = arguments(flags=OLD, lora=("/x.gguf", "/y.gguf"), lora_scales=(1.0, -0.5))
    assert " --lora /x.gguf --lora-scaled /y.gguf -0.5 " in said


def test_the_same_spec_and_placement_give_the_same_arguments():
    assert arguments(TWO_GPUS) == arguments(TWO_GPUS)


def test_the_operators_own_arguments_come_last_as_they_are_written():
    said = arguments(serving=Serving(extra_args=("--top-k", "20", "--no-context-shift")))
    assert said.endswith(" --top-k 20 --no-context-shift")
