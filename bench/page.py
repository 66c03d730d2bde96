"""All tables on one page: what each way takes, beside its peers, in one run on this machine.

    python bench/page.py [--only WORD] [--keep] [--llama-swap PATH] [--large-model-proxy PATH] …

What a table says, and what it needs, stands in README.md. Writes build/bench.md, the figures as
build/bench.json and a picture of a table in build/bench/; `--keep` writes bench/results.* as well.
A table that cannot be measured here says why; one that breaks off does too, and the page goes on.
Takes some twelve minutes on two cores, longer with every peer that is there.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import peers
from charts import Chart, charts_in, charts_of, svg
from stage import ROOT

TABLE_S_MAX = 400.0  # of one script: the longest takes two minutes on two idle cores
RESULTS = ROOT / "bench" / "results.md"
Lacking = Callable[[peers.Room], str]


# --- what is there -------------------------------------------------------------------------------


def no_edge(_: peers.Room) -> str:
    lacking = [
        name
        for name, found in (("nginx", peers.edge_can_be_here()), ("wrk", shutil.which("wrk")))
        if not found
    ]
    return f"there is no {' and no '.join(lacking)} here" if lacking else ""


def no_llama(room: peers.Room) -> str:
    lacking = "there is no llama-server: tests/tools/build_llama_cpp.sh"
    return "" if room.llama_server() else lacking


def no_docker(room: peers.Room) -> str:
    said = "DOCKER_HOST does not say where Docker is"
    return no_llama(room) or ("" if os.environ.get("DOCKER_HOST") else said)  # noqa: TID251 - Docker's


def nothing(_: peers.Room) -> str:
    return ""


@dataclass(frozen=True)
class Table:
    title: str
    words: Sequence[str]
    lacking: Lacking = nothing
    draws: bool = True  # its script keeps figures: `--json`
    beside_peers: bool = False  # its script takes the peers' options


TABLES = (
    Table("Warm request", ("bench_edge.py", "--rounds", "3"), no_edge, beside_peers=True),
    Table("Warm request: relay", ("bench_relay.py", "--rounds", "3"), no_edge),
    Table(
        "Streaming",
        ("bench_streams.py", "--rounds", "2", "--seconds", "3"),
        no_edge,
        beside_peers=True,
    ),
    Table("Swap: stand-in", ("bench_swap.py", "--swaps", "12"), beside_peers=True),
    Table(
        "Swap: llama-server as process",
        ("bench_swap.py", "--real", "--swaps", "12"),
        no_llama,
        beside_peers=True,
    ),
    Table(
        "Swap: llama-server in Docker",
        ("bench_swap.py", "--docker", "--swaps", "8"),
        no_docker,
        beside_peers=True,
    ),
    Table(
        "Contention",
        ("bench_contention.py", "--seconds", "10", "--tries", "3"),
        beside_peers=True,
    ),
    Table("Contention: direct requests", ("bench_cuts.py", "--tries", "16"), draws=False),
    Table(
        "Oversubscription: real time",
        ("bench_crowd.py",),
        no_llama,
        draws=False,
        beside_peers=True,
    ),
    Table("Oversubscription: virtual time", ("bench_oversubscription.py",), draws=False),
    Table(
        "Oversubscription: is virtual time to be believed",
        ("bench_replay.py", "--seconds", "8"),
        draws=False,
    ),
    Table("Eviction", ("bench_eviction.py",), draws=False),
    Table("Prediction", ("bench_prediction.py",), draws=False),
    Table("Recovery", ("bench_recovery.py", "--kills", "2"), beside_peers=True),
    Table("Recovery: all models known", ("bench_warm.py",), draws=False),
    Table("Scale", ("bench_scale.py",)),
    Table("Scale: many who poll", ("bench_status.py",), draws=False),
    Table("Scale: many who wait", ("bench_decisions.py",), draws=False),
)


# --- what is measured ----------------------------------------------------------------------------


@dataclass
class Measured:
    title: str
    text: str
    seconds: float
    when: str = ""
    charts: list[Chart] = field(default_factory=list)

    @property
    def picture(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") + ".svg"


def measured(table: Table, room: peers.Room, of_peers: Sequence[str]) -> Measured:
    if why := table.lacking(room):
        return Measured(table.title, f"not measured: {why}", 0.0)
    script, *options = table.words
    words = [sys.executable, str(ROOT / "bench" / script), *options]
    words += of_peers if table.beside_peers else []
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-page-") as folder:
        kept = Path(folder) / "figures.json"
        words += ["--json", str(kept)] if table.draws else []
        text = told(words)
        seconds = time.monotonic() - began_s
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}, {seconds:.0f} s"
        return Measured(table.title, text, seconds, when, charts_of(kept))


def told(words: Sequence[str]) -> str:
    """What the script says, without a path of this machine."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=TABLE_S_MAX, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return f"broke off: it took more than {TABLE_S_MAX:g} s"
    said = done.stdout.rstrip()
    if done.returncode != 0:
        said += f"\nbroke off: {done.stderr.strip().splitlines()[-1:]}"
    for path, name in ((ROOT, "."), (Path(sys.prefix), ".venv"), (Path.home(), "~")):
        said = said.replace(str(path), name)
    return said


def commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"


def machine() -> str:
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory_kb = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    memory = f", {int(memory_kb[1]) / 1e6:.0f} GB" if memory_kb else ""
    return (
        f"{os.cpu_count()} cores ({names[0] if names else platform.machine()}){memory}, Linux "
        f"{platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )


# --- the page ------------------------------------------------------------------------------------


@dataclass
class Page:
    head: str
    tables: list[Measured] = field(default_factory=list)

    def write(self, file: Path) -> None:
        """The page, and beside it its figures and a folder of pictures, all of its name."""
        folder = file.with_suffix("")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        parts = [self.head]
        for table in self.tables:
            picture = ""
            if table.charts:
                (folder / table.picture).write_text(svg(table.charts))
                picture = f"![{table.title}]({folder.name}/{table.picture})\n\n"
            when = f"{table.when}\n\n" if table.when else ""
            parts.append(f"## {table.title}\n\n{when}{picture}```\n{table.text}\n```\n")
        file.write_text("\n".join(parts))
        figures_too = {"head": self.head, "tables": [asdict(table) for table in self.tables]}
        file.with_suffix(".json").write_text(json.dumps(figures_too, indent=1) + "\n")


def kept(file: Path) -> list[Measured]:
    """The tables of a page that was written before."""
    if not file.exists():
        return []
    tables = json.loads(file.read_text())["tables"]
    return [Measured(**{**each, "charts": charts_in(each["charts"])}) for each in tables]


def together(before: Sequence[Measured], now: Sequence[Measured]) -> list[Measured]:
    """Those of now instead of those of the same titles, in the order of the page."""
    by_title = {table.title: table for table in (*before, *now)}
    return [by_title[table.title] for table in TABLES if table.title in by_title]


def head(room: peers.Room) -> str:
    there = [f"{peer.name} ({peer.version()})" for peer in room.peers]
    one, five, _ = os.getloadavg()
    return (
        "# What it takes, beside its peers\n\n"
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}, "
        f"{machine()}; load average {one:.1f} (1 min) and {five:.1f} (5 min) before it began. "
        "What counts are the ratios within one table; `bench/README.md` says what each says.\n\n"
        f"In the room: the bare server, {', '.join(there)}. "
        f"{' '.join(f'{sentence}.' for sentence in room.absent)}\n"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--to", type=Path, default=Path("build/bench.md"))
    arguments.add_argument("--only", default="", help="tables whose title begins so")
    arguments.add_argument(
        "--keep", action="store_true", help="write bench/results.md as well; of --only those tables"
    )
    peers.add_options(arguments)
    said = arguments.parse_args()
    room = peers.in_the_room(said)
    page = Page(head(room))
    for table in TABLES:
        if not table.title.startswith(said.only):
            continue
        page.tables.append(measured(table, room, peers.words_of(said)))
        done = page.tables[-1]
        print(f"## {done.title}\n\n{done.text}\n({done.seconds:.0f} s)\n", flush=True)
        page.write(said.to)
    if said.keep:
        page.tables = together(kept(RESULTS.with_suffix(".json")), page.tables)
        page.write(RESULTS)
    print(f"written: {said.to}")


if __name__ == "__main__":
    main()
