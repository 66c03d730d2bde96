"""Rules about the code itself. Each failure names the file, the line and the remedy."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.access.keys.decision import AccessCode
from orchestrator.cli.main import FOR_DAEMON, WITHOUT_DAEMON
from orchestrator.config.loading import EXAMPLE_CONFIG, load_config
from orchestrator.core.values.failures import BLAMELESS, HOPELESS, FailureReason
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import TRANSITIONS
from orchestrator.web.wire.error_answers import MEANINGS, WebCode

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "orchestrator"
SOURCES = sorted(PACKAGE.rglob("*.py"))
CORE = [path for path in SOURCES if path.is_relative_to(PACKAGE / "core")]

MODULE_LINES_MAX = 400  # a module that needs more holds two ideas
FUNCTION_LINES_MAX = 60  # one screen; nine of ten in the code we admire stay below 40
VAGUE = re.compile(r"(Manager|Service|Helper|Handler|Processor|Utils?|Impl|Base)$")
BUNDLED = re.compile(r"^(?:swagger-ui|LICENSE)\b")  # other people's text, shipped as it is
# The core decides: it must not be able to look at a clock, a file, the network or a log.
CORE_MAY_IMPORT = {"collections", "dataclasses", "enum", "itertools", "math", "typing"}
CORE_MAY_NOT_CALL = {"open", "print", "input", "exec", "eval", "__import__"}

PLAYED = "one part of the scheduler, played in test_scheduler.py and tests/simulation"
GATEWAY = "clients play it through the real daemon, in tests/scenarios/test_gateway.py"
EDGE = "a real nginx plays it, in tests/contracts/test_edge_plane.py"
OLLAMA = "Ollama's own client plays it through the real daemon, in tests/scenarios/test_ollama.py"
VALUES = "values without a rule of their own"
# Modules without a test file of their own, each with the reason. Everything else has one.
NOT_MIRRORED = {
    "cli/service/layout.py": "played with the words, in test_command.py",
    "cli/service/removal.py": "played with the word, in test_command.py",
    "cli/service/arguments.py": "played with the word, in test_command.py",
    "cli/service/systemctl.py": "a real systemd answers it, in tests/scenarios/test_service.py",
    "catalogue/found/seen.py": VALUES,
    "config/crossings.py": "mistakes of whole files, told in tests/unit/config/test_loading.py",
    "config/engine_kind.py": VALUES,
    "config/scalars.py": VALUES,
    "conductor/lives.py": "played together with the conductor, in test_conductor.py",
    "core/life/files.py": PLAYED,
    "core/life/releases.py": PLAYED,
    "core/room/question.py": VALUES,
    "core/values/key_bounds.py": VALUES,
    "core/values/decisions.py": VALUES,
    "core/values/leases.py": VALUES,
    "core/values/messages.py": VALUES,
    "core/values/refusals.py": VALUES,
    "core/values/snapshot.py": VALUES,
    "core/values/tickets.py": VALUES,
    "daemon/served.py": GATEWAY,
    "engines/premises.py": VALUES,
    "gateway/client_request.py": GATEWAY,
    "cli/edge.py": EDGE,
    "daemon/edge_side.py": EDGE,
    "gateway/edge/child.py": EDGE,
    "gateway/exchange.py": GATEWAY,
    "gateway/front.py": GATEWAY,
    "gateway/lookup.py": GATEWAY,
    "gateway/mishaps.py": GATEWAY,
    "gateway/ollama/api.py": OLLAMA,
    "gateway/ollama/asking.py": OLLAMA,
    "gateway/ollama/embedding.py": OLLAMA,
    "gateway/ollama/orders.py": OLLAMA,
    "gateway/ollama/questions.py": OLLAMA,
    "gateway/planes.py": "promises, and what they speak of",
    "gateway/relay.py": GATEWAY,
    "gateway/tunnel.py": "real WebSockets pass in tests/scenarios/test_tunnel.py",
    "ports.py": "promises; tests/contracts holds each of its drivers to them",
    "web/wire/audit_shapes.py": "shapes; tests/unit/web/rest/test_audit.py holds to them",
    "web/wire/health_shapes.py": "shapes; tests/unit/web/rest/test_admin.py holds to them",
    "web/wire/event_shapes.py": "shapes; test_examples.py and test_events.py hold to them",
    "web/wire/request_shapes.py": "shapes; test_examples.py and test_requests.py hold to them",
    "web/wire/speed_shapes.py": "shapes; test_examples.py and test_benchmarks.py hold to them",
    "web/wire/speed_examples.py": "checked with the others, in test_examples.py",
    "web/wire/error_shapes.py": "a shape; test_examples.py and test_error_answers.py hold to it",
}


def at(path: Path, line: int, complaint: str) -> str:
    return f"{path.relative_to(ROOT)}:{line}: {complaint}"


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fail_on(complaints: list[str]) -> None:
    assert not complaints, "\n" + "\n".join(complaints)


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the project that git keeps or would keep, but this one."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    paths = (
        [ROOT / name for name in listed.stdout.split("\0") if name]
        if listed.returncode == 0
        else [*ROOT.rglob("*.py"), *ROOT.rglob("*.md"), *ROOT.rglob("*.sh")]  # an unpacked archive
    )
    for path in sorted(set(paths)):
        if path != Path(__file__) and path.is_file() and not BUNDLED.search(path.name):
            try:
                yield path, path.read_text()
            except UnicodeDecodeError:
                continue


TEXTS = list(texts())


# --- modules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_module_is_tidy(path):
    text = path.read_text()
    tree = ast.parse(text)
    complaints = []
    if (lines := text.count("\n")) > MODULE_LINES_MAX:
        complaints.append(
            at(path, MODULE_LINES_MAX, f"{lines} lines, {MODULE_LINES_MAX} may be; split by noun")
        )
    if text and not ast.get_docstring(tree):
        complaints.append(at(path, 1, "say in a docstring what this module is for"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                what = f"{node.name} has {lines} lines, a screen has {FUNCTION_LINES_MAX}"
                complaints.append(at(path, node.lineno, f"{what}; name its steps"))
        if isinstance(node, ast.ClassDef) and VAGUE.search(node.name):
            remedy = "take a noun from the vocabulary of DESIGN.md, or a function"
            complaints.append(at(path, node.lineno, f"{node.name} says nothing; {remedy}"))
    fail_on(complaints)


@pytest.mark.parametrize("path", CORE, ids=named)
def test_core_reads_no_clock_does_no_io_and_does_not_log(path):
    complaints = []
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names):
                imported = [each.name for each in names]
            case ast.ImportFrom(module=module):
                imported = [module or "."]
            case _:
                imported = []
        complaints += [
            at(path, node.lineno, f"the core imports {name}; pass the value in instead")
            for name in imported
            if name.split(".")[0] not in CORE_MAY_IMPORT
            and not name.startswith("orchestrator.core")
        ]
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            remedy = "return an effect and let the conductor wait"
            complaints.append(at(path, node.lineno, f"the core waits; {remedy}"))
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in CORE_MAY_NOT_CALL
        ):
            remedy = "return an effect and let the conductor do it"
            complaints.append(at(path, node.lineno, f"the core calls {node.func.id}; {remedy}"))
    fail_on(complaints)


def test_a_class_name_means_one_thing():
    homes = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(at(path, node.lineno, node.name))
    fail_on([" and ".join(places) for places in homes.values() if len(places) > 1])


# --- tests -----------------------------------------------------------------------------------


def has_code(path: Path) -> bool:
    if path.name == "__init__.py":
        return False
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    tree = ast.parse(path.read_text())
    return any(isinstance(node, kinds) for node in ast.walk(tree)) or path.name == "__main__.py"


def test_file_of(path: Path) -> Path:
    name = f"test_{path.stem.strip('_')}.py"
    return ROOT / "tests" / "unit" / path.parent.relative_to(PACKAGE) / name


test_file_of.__test__ = False


@pytest.mark.parametrize("path", [path for path in SOURCES if has_code(path)], ids=named)
def test_module_has_its_test_file(path):
    mirror = test_file_of(path)
    excused = NOT_MIRRORED.get(str(path.relative_to(PACKAGE)))
    if mirror.exists():
        assert not excused, f"{named(mirror)}:1: exists; take {path.name} out of NOT_MIRRORED"
    else:
        assert excused, f"{named(path)}:1: has no {named(mirror)}; write it, or say why not"


def test_excuses_are_of_modules_that_exist():
    gone = [each for each in NOT_MIRRORED if not (PACKAGE / each).exists()]
    fail_on([f"{__file__}:1: {each} is gone; take it out of NOT_MIRRORED" for each in gone])


def test_test_files_test_a_module_that_exists():
    mirrors = {test_file_of(path) for path in SOURCES}
    fail_on(
        [
            at(path, 1, "no module of that name; rename or move it with what it tests")
            for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py"))
            if path not in mirrors
        ]
    )


# --- words -----------------------------------------------------------------------------------

PYTHON = [(path, text) for path, text in TEXTS if path.suffix == ".py"]
# What the wheels, packages and images of one machine come from is no part of the project.
NOT_EVERYWHERE = re.compile(
    r"/work/(?:main|shared|\.)|(?<![\w\"}])/root/|/Users/|/opt/wheels"
    r"|--(?:extra-)?index-url|--find-links[= ]+https?:|PIP_(?:INDEX_URL|FIND_LINKS|EXTRA_INDEX)"
    r"|\"resolved\":|registry\s*=\s*\"?https?:"
    r"|https?://[^/\s\"']*(?:artifactory|nexus|jfrog|mirror|\.corp\b|\.internal\b)"
)
LEFT_OPEN = re.compile(r"\b(?:TODO|FIXME|HACK)\b(?!\(#\d+\))|\bXXX\b")
BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:)\b")


def matches(pattern: re.Pattern, remedy: str, files: list[tuple[Path, str]]) -> list[str]:
    return [
        at(path, number, f"{found.group()!r}; {remedy}")
        for path, text in files
        for number, line in enumerate(text.splitlines(), 1)
        if (found := pattern.search(line))
    ]


def test_nothing_is_left_open_without_an_issue():
    fail_on(matches(LEFT_OPEN, "do it now, or open an issue and write TODO(#number)", TEXTS))


def test_nothing_names_one_machine():
    fail_on(matches(NOT_EVERYWHERE, "works on one machine only; take it as an argument", TEXTS))


def test_what_is_ignored_is_named():
    fail_on(matches(BARE_IGNORE, "name what is ignored in brackets, so that no more is", PYTHON))


def test_nothing_is_mocked():
    mocks = re.compile(r"^\s*(?:from|import)\s+(?:unittest\.mock|unittest\s+import\s+mock|mock)\b")
    fail_on(matches(mocks, "use the shipped fakes; a contract suite keeps them honest", PYTHON))


def test_skips_go_through_one_place():
    skips = re.compile(r"\bpytest\.(?:skip|importorskip|xfail)\(|\bmark\.(?:skip|skipif|xfail)\b")
    files = [(path, text) for path, text in PYTHON if path.name != "parts.py"]
    remedy = "name what is missing in tests/parts.py, and `require` it"
    fail_on(matches(skips, remedy, files))


# --- tables ----------------------------------------------------------------------------------


def uses(enumeration: type, name: str, but: Path) -> bool:
    wanted = f"{enumeration.__name__}.{name}"
    return any(
        re.search(rf"\b{re.escape(wanted)}\b", path.read_text()) for path in SOURCES if path != but
    )


def test_every_code_has_a_status_and_no_status_is_of_no_code():
    codes = {*RefusalCode, *WebCode, *AccessCode}
    place = f"{named(PACKAGE / 'web' / 'wire' / 'error_answers.py')}:1"
    fail_on([f"{place}: {code} has no meaning; add it" for code in codes if code not in MEANINGS])
    fail_on([f"{place}: {code} is no code; remove it" for code in MEANINGS if code not in codes])


@pytest.mark.parametrize(
    ("enumeration", "home"), [(RefusalCode, "refusals.py"), (FailureReason, "failures.py")]
)
def test_every_reason_is_given_by_somebody(enumeration, home):
    path = PACKAGE / "core" / "values" / home
    said = path.read_text().splitlines()
    fail_on(
        [
            at(path, line, f"nobody ever says {each.name}; remove it")
            for each in enumeration
            for line, text in enumerate(said, 1)
            if text.strip().startswith(f"{each.name} =") and not uses(enumeration, each.name, path)
        ]
    )


def test_a_failure_is_hopeless_or_blameless_and_never_both():
    assert not HOPELESS & BLAMELESS


# --- the architecture as it is told ------------------------------------------------------------

DESIGN = (PACKAGE / "DESIGN.md").read_text()


def fenced_after(heading: str) -> list[str]:
    return DESIGN.split(f"## {heading}", 1)[1].split("```", 2)[1].strip("\n").splitlines()


def test_the_picture_is_the_directory():
    folders = {
        f"{path.relative_to(PACKAGE)}/"
        for path in PACKAGE.rglob("*")
        if path.is_dir() and (path / "__init__.py").exists()
    }
    files = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    drawn, above = set(), ""
    for line in fenced_after("The picture"):
        name = line.split()[0]
        if not line.startswith(" "):
            above = name
        drawn.add(f"{above}{name}" if line.startswith(" ") else name)
    fail_on([f"DESIGN.md:1: draw {each}" for each in sorted((folders | files) - drawn)])
    fail_on([f"DESIGN.md:1: there is no {each}" for each in sorted(drawn - folders - files)])


def test_the_life_of_a_resident_is_the_table():
    told = {}
    for line in fenced_after("The life of a resident"):
        state, _, following = line.partition("→")
        told[state.strip()] = {each.strip() for each in following.split(",")} - {"(gone)"}
    assert told == {
        state.upper(): {each.upper() for each in following}
        for state, following in TRANSITIONS.items()
    }


# --- what the operator reads -----------------------------------------------------------------

FENCE = re.compile(r"^```(?:sh|bash|console|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PREFIX = r"(?:^|[;&|(]\s*|\$\s+|\.venv/bin/|=\s*)"
MAKE = re.compile(PREFIX + r"make\s+((?:[A-Za-z_]+=\S*\s+)*)([a-z][\w-]*)", re.MULTILINE)
ORCHESTRATOR = re.compile(PREFIX + r"orchestrator\s+(?!-)([a-z][\w-]*)", re.MULTILINE)


def commands(pattern: re.Pattern) -> Iterator[tuple[Path, int, str]]:
    for path, text in TEXTS:
        if path.suffix != ".md":
            continue
        for fence in FENCE.finditer(text):
            for found in pattern.finditer(fence.group(1)):
                line = text.count("\n", 0, fence.start(1) + found.start()) + 1
                yield path, line, found.group(pattern.groups)


def test_make_targets_that_the_documents_name_exist():
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    fail_on(
        [
            at(path, line, f"there is no `make {target}`; the Makefile has {sorted(targets)}")
            for path, line, target in commands(MAKE)
            if target not in targets
        ]
    )


def test_words_of_the_command_line_that_the_documents_name_exist():
    words = {word.name for word in (*WITHOUT_DAEMON, *FOR_DAEMON)}
    fail_on(
        [
            at(path, line, f"there is no `orchestrator {word}`; it has {sorted(words)}")
            for path, line, word in commands(ORCHESTRATOR)
            if word not in words
        ]
    )


def test_example_configuration_loads():
    assert load_config(EXAMPLE_CONFIG, environ={"HOME": "/home/op"}).catalogue
