"""Mutants of the core: small mistakes put into it, one at a time; the tests must notice each.

`make mutants` makes sixty by a seed, in copies of the tree: a comparison is swapped, a clause of
and/or dropped, a condition negated, an effect skipped, a constant moved by one. Each is met by the
tests of its module, then by all of the core with its plays, then by some days of the simulation; the
first failure ends it. Those that survive are printed; `mutants_survivors.txt` beside this file says
why some may. Exits with 1 if another one survives, or more than three do.
"""

import argparse
import ast
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[2]
CORE = Path("orchestrator/core")
REASONS = Path(__file__).with_name("mutants_survivors.txt")
SURVIVORS_MAX = 3
DAYS = 8  # of the simulation
STAGE_S_MAX = 420.0  # a mutant that makes a test run for ever is noticed, too
COPIED = ("orchestrator", "tests", "pyproject.toml", "examples", "README.md")

_SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_TURNED: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}


@dataclass(frozen=True)
class Mutant:
    path: Path
    line: int
    kind: str
    before: str
    after: str
    source: str  # the line that it is in
    begin: int  # offsets into the file's text
    end: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.kind}: {self.before} -> {self.after}"

    @property
    def key(self) -> str:
        """The same when lines move."""
        return f"{self.path} {self.kind}: {self.before} -> {self.after} in {self.source}"


# --- making them -----------------------------------------------------------------------------


def mutants_of(path: Path, text: str) -> Iterator[Mutant]:
    starts, lines = [0], text.splitlines(keepends=True)
    for line in lines:
        starts.append(starts[-1] + len(line))
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef):
            continue
        for statement in function.body:
            for node in ast.walk(statement):
                if not isinstance(node, ast.expr | ast.stmt):
                    continue
                for kind, after in _changes(node):
                    begin = starts[node.lineno - 1] + node.col_offset
                    end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
                    before = " ".join(text[begin:end].split())
                    source = lines[node.lineno - 1].strip()
                    yield Mutant(path, node.lineno, kind, before, after, source, begin, end)


def _changes(node: ast.AST) -> Iterator[tuple[str, str]]:
    """What could be wrong with it, as text in its place."""
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _SWAPPED:
            swapped = ast.Compare(left, [_SWAPPED[type(op)]()], [right])
            yield "comparison", f"({ast.unparse(swapped)})"
        case ast.BoolOp(op=op, values=values):
            for dropped in range(len(values)):
                kept = [one for number, one in enumerate(values) if number != dropped]
                clauses = kept[0] if len(kept) == 1 else ast.BoolOp(op, kept)
                yield "clause", f"({ast.unparse(clauses)})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "negation", f"({ast.unparse(operand)})"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _TURNED:
            if not isinstance(left, ast.Constant | ast.JoinedStr | ast.List):
                yield "sign", f"({ast.unparse(ast.BinOp(left, _TURNED[type(op)](), right))})"
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            yield "constant", str(value + 1)
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=args, keywords=keywords):
            other = ast.Name("max" if name == "min" else "min")
            yield "extreme", ast.unparse(ast.Call(other, args, keywords))
        case ast.AugAssign(target=ast.Name(id="effects")):
            yield "effect", "pass"
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=str(attr)))) if attr != "append":
            yield "call", "pass"
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="effects")))):
            yield "effect", "pass"
        case ast.List(elts=elements, ctx=ast.Load()) if any(map(_is_effect, elements)):
            for dropped, element in enumerate(elements):
                if _is_effect(element):
                    rest = [one for number, one in enumerate(elements) if number != dropped]
                    yield "effect", ast.unparse(ast.List(rest, ast.Load()))


def _is_effect(element: ast.expr) -> bool:
    """Sentences are left alone: what they say is not what is done."""
    inner = element.value if isinstance(element, ast.Starred) else element
    called = inner.func if isinstance(inner, ast.Call) else None
    return isinstance(called, ast.Name) and called.id not in ("Decide", "str")


def choose(seed: int, count: int) -> list[Mutant]:
    """By lot, which a change elsewhere in the core does not draw again."""
    every = {
        (mutant.path, mutant.begin, mutant.end, mutant.after): mutant
        for path in sorted((ROOT / CORE).rglob("*.py"))
        for mutant in mutants_of(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    }

    def lot(mutant: Mutant) -> str:
        return hashlib.sha256(f"{seed} {mutant.key}".encode()).hexdigest()

    chosen = sorted(every.values(), key=lot)[:count]
    return sorted(chosen, key=lambda mutant: (str(mutant.path), mutant.line))


# --- meeting them ----------------------------------------------------------------------------


def stages(mutant: Mutant) -> Iterator[list[str]]:
    """What kills it soonest comes first."""
    own = Path("tests/unit") / mutant.path.relative_to("orchestrator").with_name(
        f"test_{mutant.path.name}"
    )
    if (ROOT / own).exists():
        yield [str(own)]
    yield ["tests/unit/core"]
    days = [f"tests/simulation/test_busy_day.py::test_busy_day[{seed}]" for seed in range(DAYS)]
    yield days


def meet(mutant: Mutant, tree: Path) -> str | None:
    """Which test failed first; None: it survived."""
    path = tree / mutant.path
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: mutant.begin] + mutant.after + text[mutant.end :], encoding="utf-8")
    try:
        for tests in stages(mutant):
            failed = _first_failure(tree, tests)
            if failed is not None:
                return failed
        return None
    finally:
        path.write_text(text, encoding="utf-8")


def _first_failure(tree: Path, tests: list[str]) -> str | None:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: TID251 - of the tests
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            capture_output=True,
            text=True,
            timeout=STAGE_S_MAX,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it ran for ever"
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" - ")[0] if failed else f"pytest ended with {done.returncode}"


def _copy(into: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, into / name)
    return into


def reasons() -> dict[str, str]:
    """Survivors that may, each with its reason: a mutant's line, then an indented sentence."""
    found: dict[str, str] = {}
    key = ""
    for line in REASONS.read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            found[key] = line.strip()
        else:
            key = line.strip()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    chosen, known = choose(asked.seed, asked.count), reasons()
    survived: list[Mutant] = []
    with tempfile.TemporaryDirectory() as folder:
        trees: Queue[Path] = Queue()
        for number in range(asked.jobs):
            trees.put(_copy(Path(folder) / str(number)))

        def one(mutant: Mutant) -> tuple[Mutant, str | None]:
            tree = trees.get()
            try:
                return mutant, meet(mutant, tree)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(asked.jobs) as pool:
            for mutant, killer in pool.map(one, chosen):
                print(f"{mutant}\n    {killer or 'SURVIVED'}", flush=True)
                if killer is None:
                    survived.append(mutant)
    unexplained = [mutant for mutant in survived if mutant.key not in known]
    print(f"{len(chosen)} mutants, {len(survived)} survived, {len(unexplained)} without a reason")
    for mutant in survived:
        print(f"  {mutant.key}\n    {known.get(mutant.key, 'no reason is known')}")
    return 1 if unexplained or len(survived) > SURVIVORS_MAX else 0


if __name__ == "__main__":
    sys.exit(main())
