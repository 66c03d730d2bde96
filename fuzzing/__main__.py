"""`python -m fuzzing [TARGET …] [--seconds 20] [--replay FILE]`; ends with 1 at a finding."""

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from fuzzing.mutations import INPUT_BYTES_MAX, Target, first_finding, mutations
from fuzzing.targets import TARGETS

FOLDER = Path("build") / "fuzz"  # the corpus that grows, and what was found
INPUT_S_MAX = 5  # an input that takes longer holds the daemon up
MEMORY_MB_MAX = 2048


def main(words: list[str]) -> int:
    """How many of the targets broke a promise, at most 1."""
    parser = argparse.ArgumentParser(prog="python -m fuzzing")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--replay", type=Path, help="one input, for the one target named")
    said = parser.parse_args(words)
    names = said.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"there is no target {unknown[0]}: {', '.join(TARGETS)}")
    if said.replay is not None:
        if len(names) != 1:
            parser.error("say for which target")
        TARGETS[names[0]].check(said.replay.read_bytes())
        print(f"{names[0]}: {said.replay} breaks nothing")
        return 0
    drive = blind if importlib.util.find_spec("atheris") is None else guided
    found = [name for name in names if not drive(name, TARGETS[name], said.seconds)]
    for name in found:
        print(f"{name}: a finding; python -m fuzzing {name} --replay {FOLDER / name}/…")
    return int(bool(found))


def guided(name: str, target: Target, seconds: int) -> bool:
    """By coverage, in a process of its own. Whether all promises held."""
    corpus = FOLDER / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        _keep(corpus, seed)
    known = FOLDER / name / "words.txt"
    known.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    options = {
        "max_total_time": seconds,
        "max_len": INPUT_BYTES_MAX,
        "timeout": INPUT_S_MAX,
        "rss_limit_mb": MEMORY_MB_MAX,
        "dict": known,
        "artifact_prefix": f"{FOLDER / name}/",
        "verbosity": 0,
        "print_final_stats": 1,
    }
    words = [f"-{option}={value}" for option, value in options.items()]
    command = [sys.executable, "-m", "fuzzing.guided", name, *words, str(corpus)]
    print(f"== {name}: {seconds} s, guided by coverage", flush=True)
    return subprocess.run(command, check=False).returncode == 0


def blind(name: str, target: Target, seconds: int) -> bool:
    """By chance alone, a new chance in every run. Whether all promises held."""
    number = time.time_ns()
    print(f"== {name}: {seconds} s, blind mutations of number {number}", flush=True)
    finding = first_finding(target, _until(time.monotonic() + seconds, mutations(target, number)))
    if finding is None:
        return True
    traceback.print_exception(finding.error)
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    print(_keep(FOLDER / name, finding.content))
    return False


def _until(deadline_s: float, inputs: Iterator[bytes]) -> Iterator[bytes]:
    return takewhile(lambda _: time.monotonic() < deadline_s, inputs)


def _keep(folder: Path, content: bytes) -> Path:
    path = folder / hashlib.sha256(content).hexdigest()[:16]
    path.write_bytes(content)
    return path


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
