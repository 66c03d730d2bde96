"""A llama.cpp server out of the `xllamacpp` wheel, as a program of its own.

    python -m orchestrator.engines.xllamacpp.server --model FILE --port 8081

Never imported by the daemon: a crash inside llama.cpp ends this process and no other. It answers
and logs as a llama-server does, because inside it is one.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import xllamacpp

from orchestrator.engines.xllamacpp import flags

_LOAD_MODES = {
    "none": "NONE",
    "mmap": "MMAP",
    "mlock": "MLOCK",
    "mmap+mlock": "MMAP_MLOCK",
    "dio": "DIRECT_IO",
}


def main(argv: Sequence[str]) -> int:
    """Serve until a signal ends the process; 1 if it does not come up."""
    options = flags.parse(argv)
    # Python's own handlers would wait for the loading of the weights to end.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    try:
        server = xllamacpp.Server(_params(options))
    except RuntimeError as error:  # llama.cpp has told the cause on standard error before
        _log(f"exiting, the server did not come up: {error}")
        return 1
    _log(f"serving on {server.listening_address}")
    while True:  # the server has threads of its own
        signal.pause()


def _log(line: str) -> None:
    with suppress(OSError):  # a full disk takes no log, and stops no server
        os.write(2, f"xllamacpp_server: {line}\n".encode())


def _params(options: argparse.Namespace) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    _model(params, options)
    _room(params, options)
    _answering(params, options)
    return params


def _model(params: xllamacpp.CommonParams, options: argparse.Namespace) -> None:
    params.model.path = options.model
    if options.alias:
        params.model_alias = {options.alias}
    if options.mmproj:
        params.mmproj.path = options.mmproj
    params.mmproj_use_gpu = options.mmproj_offload
    params.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(path, scale) for path, scale in flags.adapters_of(options)
    ]
    mode = f"LLAMA_LOAD_MODE_{_LOAD_MODES[options.load_mode]}"
    params.load_mode = getattr(xllamacpp.llama_load_mode, mode)


def _room(params: xllamacpp.CommonParams, options: argparse.Namespace) -> None:
    params.n_ctx = options.ctx_size
    params.n_parallel = options.parallel
    params.kv_unified = options.kv_unified
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{options.cache_type_k.upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{options.cache_type_v.upper()}")
    params.n_batch = options.batch_size
    params.n_ubatch = options.ubatch_size
    params.n_gpu_layers = options.gpu_layers
    params.fit_params = False
    params.cache_ram_mib = options.cache_ram
    params.n_ctx_checkpoints = options.ctx_checkpoints
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    attention = "ENABLED" if options.flash_attn == "on" else "DISABLED"
    params.flash_attn_type = getattr(
        xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{attention}"
    )
    if options.tensor_split:
        shares = [float(share) for share in options.tensor_split.split(",")]
        params.tensor_split = shares + [0.0] * (len(params.tensor_split) - len(shares))


def _answering(params: xllamacpp.CommonParams, options: argparse.Namespace) -> None:
    params.hostnames = [options.host]
    params.port = options.port
    params.endpoint_metrics = options.metrics
    params.endpoint_slots = options.slots
    params.use_jinja = options.jinja
    params.embedding = options.embeddings
    params.n_predict = options.predict
    params.ui = options.ui
    params.cors_origins = options.cors_origins
    params.cors_origins_explicit = True
    if options.api_key_file:
        params.api_keys = Path(options.api_key_file).read_text().split()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
