"""A stand-in for `llama-server`: a real process with real sockets and no model inside.

    python -m orchestrator.stand_in.server --model NAME --port 8081 --load-s 2

It charges the fake devices it is told to live on, and shows any of the world's defects on request.
Of the package it imports only what is light: it is up within the time a container would take to
print its first line.
"""

import argparse
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.core.values.vram import MiB
from orchestrator.errors import Failed
from orchestrator.stand_in.claims import ClaimRefused, Claims
from orchestrator.stand_in.http import BadRequest, ClientGone, Connection
from orchestrator.stand_in.talk import RequestRefused, Talk

EXITS_AFTER_S = 0.3  # of `--fail exits`: long enough to have been seen running
LOAD_STEPS = 10  # in which the weights arrive on the device
WEIGHTS_FRACTION = 0.8  # of the time to load; what is needed only while loading comes after
CONNECTIONS_MAX = 1024  # a thread each; more wait in the kernel's queue
OUT_OF_MEMORY_FRACTION = 10  # `--fail out_of_memory` lacks a tenth of what it was promised

BEGAN_S = time.monotonic()


def main(argv: Sequence[str]) -> int:
    """Serve until told to stop. Exit codes: 0 stopped, 1 failed, 2 wrong arguments."""
    options = _parse(argv)
    _obey_signals(options)
    try:
        listener = socket.create_server((options.host, options.port), backlog=CONNECTIONS_MAX)
    except OSError:
        where = f"hostname: {options.host}, port: {options.port}"
        _log(f"E srv         start: couldn't bind HTTP server socket, {where}")
        return 1
    host, port = listener.getsockname()[:2]
    _log(f"I srv  fake_server: listening on http://{host}:{port}")
    talk = Talk(
        options.model,
        slots=options.slots,
        context=options.context,
        tokens_per_s=options.tokens_per_s,
        max_tokens=options.max_tokens,
        keys=options.api_key_file.read_text().split() if options.api_key_file else (),
    )
    threading.Thread(target=_load, args=(options, talk), daemon=True).start()
    if options.dies_after_s is not None:
        threading.Thread(target=_die, args=(options.dies_after_s,), daemon=True).start()
    _accept(listener, talk)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fake_server", allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key-file", type=Path)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--load-s", type=float, default=0.0)
    parser.add_argument("--tokens-per-s", type=float, default=50.0)
    parser.add_argument("--stop-s", type=float, default=0.0)
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--dies-after-s", type=float)
    parser.add_argument("--peak-mb", type=int)
    parser.add_argument("--fail", default="none")
    parser.add_argument("--takes-no-vram", action="store_true")
    parser.add_argument("--claims", type=Path, help="the directory of the fake devices' account")
    parser.add_argument("--device", type=_share, action="append", default=[], metavar="ID=BYTES")
    return parser.parse_args(argv)


def _share(text: str) -> tuple[str, int]:
    device, _, size = text.rpartition("=")
    return device, int(size)


# --- how it ends -----------------------------------------------------------------------------


def _obey_signals(options: argparse.Namespace) -> None:
    def stop(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _log("I srv  fake_server: stopping")
        time.sleep(options.stop_s)
        _exit(0)

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.ignore_sigterm else stop)


def _die(after_s: float) -> None:
    time.sleep(max(0.0, BEGAN_S + after_s - time.monotonic()))
    _log(f"E srv  fake_server: error: died after {after_s:g} s, as it was told to")
    _exit(1)


def _exit(code: int) -> None:
    """From any thread, without waiting for the other threads: as a crash would."""
    os._exit(code)


def _log(line: str) -> None:
    # Not through sys.stderr: a signal in the middle of a write there could not write itself.
    with suppress(OSError):  # a full disk takes no log, and stops no server
        os.write(2, f"{time.monotonic() - BEGAN_S:.3f} {line}\n".encode())


# --- how it loads ----------------------------------------------------------------------------


def _load(options: argparse.Namespace, talk: Talk) -> None:
    _log(f"I srv    load_model: loading model '{options.model}'")
    if options.fail == "exits":
        time.sleep(EXITS_AFTER_S)
        _log("E srv    load_model: error: the stand-in exits, as it was told to")
        _exit(1)
    try:
        _take_weights(options)
        _take_peak(options)
        _settle(options)
    except (Failed, OSError, ValueError, KeyError) as error:
        _log(f"E srv    load_model: error: the fake devices' account fails: {error!r}")
        _exit(1)
    if options.fail == "never_ready":
        _log("I srv    load_model: it will load for ever")
        return
    talk.ready.set()
    _log("I srv  fake_server: model loaded")


def _take_weights(options: argparse.Namespace) -> None:
    for step in range(1, LOAD_STEPS + 1):
        if options.fail == "out_of_memory" and step > LOAD_STEPS // 2:
            promised = sum(size for _, size in options.device)
            _out_of_memory(0, promised // OUT_OF_MEMORY_FRACTION, "compute pp buffers")
        for index, (device, size) in enumerate(options.device):
            try:
                _claim(options, device, size * step // LOAD_STEPS)
            except ClaimRefused:
                _out_of_memory(index, size, None)
        _log(f"I load_tensors: {step * 100 // LOAD_STEPS} % of the weights")
        time.sleep(options.load_s * WEIGHTS_FRACTION / LOAD_STEPS)


def _take_peak(options: argparse.Namespace) -> None:
    """What is needed only while it loads comes on top of the weights, in one piece."""
    settled = sum(size for _, size in options.device)
    extra = (options.peak_mb or 0) * MiB - settled
    if extra > 0:
        for index, (device, size) in enumerate(options.device):
            more = extra * size // settled
            try:
                _claim(options, device, size + more)
            except ClaimRefused:
                _out_of_memory(index, more, "compute pp buffers")
    time.sleep(options.load_s * (1 - WEIGHTS_FRACTION))


def _settle(options: argparse.Namespace) -> None:
    for device, size in options.device:
        _claim(options, device, size)


def _claim(options: argparse.Namespace, device: str, size: int) -> None:
    if options.claims is not None and not options.takes_no_vram:
        Claims(options.claims).claim(device, size)


def _out_of_memory(device: int, size: int, buffers: str | None) -> None:
    """In the words of llama.cpp on CUDA; `buffers` is None where the weights did not fit."""
    _log(
        f"E ggml_backend_cuda_buffer_type_alloc_buffer: allocating {size / MiB:.2f} MiB"
        f" on device {device}: cudaMalloc failed: out of memory"
    )
    if buffers is None:
        _log(f"E alloc_tensor_range: failed to allocate CUDA{device} buffer of size {size}")
        _log(f"E llama_model_load: error loading model: unable to allocate CUDA{device} buffer")
    else:
        _log(f"E ggml_gallocr_reserve_n: failed to allocate CUDA{device} buffer of size {size}")
        _log(f"E llama_init_from_model: failed to initialize: failed to allocate {buffers}")
    _log("E srv  fake_server: exiting due to model loading error")
    _exit(1)


# --- how it serves ---------------------------------------------------------------------------


def _accept(listener: socket.socket, talk: Talk) -> None:
    room = threading.Semaphore(CONNECTIONS_MAX)
    while True:
        room.acquire()
        client, _ = listener.accept()
        threading.Thread(target=_converse, args=(client, talk, room), daemon=True).start()


def _converse(client: socket.socket, talk: Talk, room: threading.Semaphore) -> None:
    connection = Connection(client)
    try:
        while _answer_next(connection, talk):
            pass
    except ClientGone:
        return
    finally:
        connection.close()
        room.release()


def _answer_next(connection: Connection, talk: Talk) -> bool:
    """Answer one request; say whether the connection stays open for another."""
    try:
        request = connection.receive()
    except BadRequest as error:
        connection.answer(400, RequestRefused(400, "invalid_request_error", str(error)).body)
        return False
    try:
        talk.respond(connection, request)
    except RequestRefused as refused:
        connection.answer(refused.status, refused.body)
    return request.keeps_connection


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
