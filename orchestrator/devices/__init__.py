"""Reads the devices that hold models: GPUs through NVML, the host's RAM, or fakes.

`machine` is what a daemon usually holds: GPUs and RAM together. `nvml` keeps the GPUs known while
their driver fails, `nvml_driver` asks the driver, `driver_thread` survives one that hangs, and
`nvml_problems` says what is wrong in words. `host` reads RAM, also of GPUs that live in it. `fake`
is an account on disk that stand-in servers charge.
"""
