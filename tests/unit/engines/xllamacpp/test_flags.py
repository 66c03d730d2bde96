import pytest

from orchestrator.core.values.residents import Placement
from orchestrator.core.values.specs import Serving
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.engines.llama.argv import server_arguments
from orchestrator.engines.xllamacpp.flags import FLAGS, adapters_of, parse
from tests.unit.engines.launched import ON_HOST, spec_of

TOKENS = {"{port}": "8081", "{host}": "127.0.0.1"}


def understood(serving=None, placement=ON_HOST, **changes):
    spec = spec_of(file="/m.gguf", serving=serving or Serving(), **changes)
    words = server_arguments(spec, placement, FLAGS, physical_cores=2)
    return parse([TOKENS.get(word, word) for word in words])


def test_the_program_understands_what_the_engine_says():
    options = understood(
        Serving(
            context_size=1024, slots=2, unified_cache=False, cache_type_k="q8_0", embeddings=True,
            jinja=False, flash_attention=False, max_tokens=9, host_cache_mb=5, load_mode="dio",
        ),
        mmproj="/p.gguf",
        lora=("/x.gguf", "/y.gguf"),
    )  # fmt: skip
    assert (options.model, options.alias, options.mmproj) == ("/m.gguf", "smol", "/p.gguf")
    assert adapters_of(options) == [("/x.gguf", 1.0), ("/y.gguf", 1.0)]
    assert (options.ctx_size, options.parallel, options.kv_unified) == (2048, 2, False)
    assert (options.cache_type_k, options.cache_type_v) == ("q8_0", "f16")
    assert (options.embeddings, options.jinja, options.flash_attn) == (True, False, "off")
    assert (options.predict, options.cache_ram, options.load_mode) == (9, 5, "dio")
    assert (options.host, options.port, options.ui) == ("127.0.0.1", 8081, False)
    assert (options.gpu_layers, options.mmproj_offload) == (0, False)


def test_adapters_are_applied_by_their_scales():
    options = understood(lora=("/x.gguf", "/y.gguf"), lora_scales=(0.5, 0.0))
    assert adapters_of(options) == [("/x.gguf", 0.5), ("/y.gguf", 0.0)]
    assert adapters_of(understood()) == []


def test_two_gpus_are_understood_too():
    placement = Placement(((DeviceId("GPU-a"), 2 * GiB), (DeviceId("GPU-b"), GiB)))
    options = understood(placement=placement)
    assert (options.gpu_layers, options.tensor_split) == (999, "2048,1024")


@pytest.mark.parametrize("argv", [[], ["-m", "x", "-c", "abc"], ["-m", "x", "--no-such-flag"]])
def test_wrong_arguments_are_told(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
