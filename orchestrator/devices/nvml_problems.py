"""What is wrong with a GPU, as a sentence with its remedy, by NVML's return code.

The codes are part of NVML's ABI and never change; the binding is not needed to know them.
"""

from collections.abc import Mapping

HANGS = (
    "The NVIDIA driver does not answer: a call into it hangs. Readings resume by themselves when "
    "it comes back; if it does not, look for `NVRM` in `dmesg` and reboot."
)
NO_GPU = (
    "The NVIDIA driver works but lists no GPU. `nvidia-smi -L` shows what it sees; give the "
    "container the GPUs if the daemon runs in one."
)
NO_INSTANCE = (
    "MIG is on and has no instances, so no program can use the GPU. Create some "
    "(`nvidia-smi mig -cgi <profile> -C`) or turn MIG off (`nvidia-smi -mig 0`)."
)
NO_SIZE = (
    "The driver does not tell how much memory is free. If `nvidia-smi` shows none either, reset "
    "the GPU (`nvidia-smi --gpu-reset`) or reboot."
)
GONE = (
    "The driver no longer lists this device: it has fallen off the bus, or MIG was changed. "
    "Look for `Xid` in `dmesg`; restart the daemon if it was taken away on purpose."
)

_PROBLEMS: Mapping[int, str] = {
    4: (
        "The daemon may not talk to the NVIDIA driver. Give its user access to /dev/nvidia*, or "
        "its container the GPUs (`--gpus all`)."
    ),
    9: (
        "The NVIDIA kernel module is not loaded. Load it (`modprobe nvidia`); if that fails, "
        "`dmesg` says why."
    ),
    12: (
        "No NVIDIA driver is installed: libnvidia-ml.so.1 was not found. Install the driver, or "
        "give the container the GPUs (`--gpus all`)."
    ),
    15: (
        "The GPU has fallen off the bus. Look for `Xid 79` in `dmesg`; reset it "
        "(`nvidia-smi --gpu-reset`) or reboot, and check its power and cooling."
    ),
    16: "The GPU waits for a reset. Stop what uses it and run `nvidia-smi --gpu-reset`, or reboot.",
    18: (
        "The NVIDIA library and the kernel module are of different versions: the driver was "
        "upgraded underneath. Reboot, or unload and load the kernel module."
    ),
    999: (
        "The NVIDIA driver reports an unknown error. In a container its access to the GPU was "
        "probably revoked: restart the container. Else look for `NVRM` in `dmesg`."
    ),
}


def problem_of(code: int, words: str) -> str:
    """Cause and remedy; for a code without a sentence of its own, the driver's own words."""
    otherwise = (
        f"The NVIDIA driver says: {words}. Look for `NVRM` in `dmesg`, and try `nvidia-smi`."
    )
    return _PROBLEMS.get(code, otherwise)
