"""What the daemon costs when nobody wants anything: resident memory and processor time.

    python bench/bench_rest.py

The settings are those of a new installation, the devices and the servers are stand-ins. With no
model loaded, and with three.
"""

import time

import psutil
from stage import Daemon, cpu_s, daemon, model, say_load

SETTLE_S = 2.0
LOOK_S = 24.0
LOADED = 3
RSS_MB_MAX = 120
CPU_PERCENT_MAX = 1.0


def look(started: Daemon, label: str) -> None:
    pid = started.process.pid
    time.sleep(SETTLE_S)
    began_s, began_cpu_s = time.monotonic(), cpu_s(pid)
    time.sleep(LOOK_S)
    percent = (cpu_s(pid) - began_cpu_s) / (time.monotonic() - began_s) * 100
    rss_mb = psutil.Process(pid).memory_info().rss / (1 << 20)
    reached = rss_mb < RSS_MB_MAX and percent < CPU_PERCENT_MAX
    verdict = "reached" if reached else "MISSED"
    print(
        f"{label:12s} RSS {rss_mb:6.1f} MiB   CPU {percent:5.2f} % of a core   "
        f"targets < {RSS_MB_MAX} MB, < {CPU_PERCENT_MAX:.0f} %: {verdict}"
    )


def main() -> None:
    say_load("start")
    models = {f"m{n}": model(4000) for n in range(LOADED)}
    cards = {"source": "fake", "sample_interval_s": 0.5}
    with daemon(models, devices=cards) as started:
        look(started, "none loaded")
        for name in models:
            started.load(name)
        look(started, f"{LOADED} loaded")
    say_load("end")


if __name__ == "__main__":
    main()
