"""A program of somebody else's that holds memory: of a card through PyTorch, or as a bare context.

    python holder.py torch|context|host

It reads lines `grow BYTES` and answers `held BYTES SECONDS`; `end` or a closed input ends it.
`host` holds the machine's own memory: a rehearsal's stand-in driver charges that to its card.
"""

import ctypes
import sys
import time
from collections.abc import Callable

Hold = Callable[[int], object]


def torch_bytes() -> Hold:
    import torch  # noqa: PLC0415 - only where it is there

    def hold(count: int) -> object:
        held = torch.ones(count, dtype=torch.uint8, device="cuda")
        torch.cuda.synchronize()
        return held

    return hold


def host_bytes() -> Hold:
    return lambda count: bytearray(b"w") * count


def context_only() -> Hold:
    """The smallest that a program on CUDA takes: its context, without a kernel."""
    driver = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    for failed in (
        driver.cuInit(0),
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
    ):
        if failed:
            sys.exit(f"CUDA error {failed}")
    return lambda _: context


KINDS = {"torch": torch_bytes, "context": context_only, "host": host_bytes}


def main() -> None:
    began_s = time.perf_counter()
    hold = KINDS[sys.argv[1]]()
    held, kept = 0, []
    for line in sys.stdin:
        if line.strip() == "end":
            break
        count = int(line.split()[1])
        kept.append(hold(count))
        held += count
        print("held", held, time.perf_counter() - began_s, flush=True)
        began_s = time.perf_counter()


if __name__ == "__main__":
    main()
