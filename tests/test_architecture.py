"""The rules that hold the code together, read from the source itself.

Who may import whom, where time is read and where I/O happens, what the wheel holds, and what
no committed file may say. The tables below are the rules; `docs/architecture.md` explains them.
"""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tokenhub"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

CORE = frozenset({"wire", "catalog", "accounts", "routing", "providers", "billing"})
BELOW_DOORS = CORE | {"store", "observability", "operations"}
ROOT_MODULES = "(root)"

MAY_IMPORT: dict[str, frozenset[str]] = {
    ROOT_MODULES: frozenset(),
    "wire": frozenset(),
    "catalog": frozenset(),
    "accounts": frozenset({"catalog", "routing"}),
    "routing": frozenset({"catalog"}),
    "billing": frozenset({"catalog", "accounts"}),
    "providers": frozenset({"catalog", "wire"}),
    "store": CORE | {"observability"},
    "observability": CORE,
    "operations": CORE | {"store", "observability"},
    "cli": BELOW_DOORS,
    "proxy": BELOW_DOORS,
}
"""Package to the packages it may import, besides itself and the modules at the root."""

DOORS_MEET = {("tokenhub.cli.serve", "tokenhub.proxy.app"), ("tokenhub.cli.serve", "tokenhub.proxy.supervisor")}
"""The one place where a door opens the other."""

NOT_IN_CORE = frozenset({"tokenhub.clock", "tokenhub.settings", "tokenhub.paths"})

HOMES: dict[str, tuple[str, ...]] = {
    "aiohttp": ("tokenhub.proxy",),
    "httptools": ("tokenhub.providers.client",),
    "click": ("tokenhub.cli",),
    "cryptography": ("tokenhub.store.vault",),
    "multidict": ("tokenhub.proxy", "tokenhub.providers.client"),
    "peewee": ("tokenhub.store",),
    "platformdirs": ("tokenhub.paths",),
    "playhouse": ("tokenhub.store",),
    "psycopg": ("tokenhub.store",),
    "requests": ("tokenhub.operations.payments.stripe_api",),
    "rich": ("tokenhub.cli",),
    "sqlite3": ("tokenhub.store",),
    "stripe": ("tokenhub.operations.payments.stripe_api",),
    "tomli_w": ("tokenhub.operations.config",),
    "typer": ("tokenhub.cli",),
    "uvloop": ("tokenhub.proxy",),
    "xllamacpp": ("tokenhub.proxy.local_server",),
    "yarl": ("tokenhub.proxy", "tokenhub.providers.client"),
}
"""A package that is used in one place can be replaced in one place."""

ASYNC_HOMES = ("tokenhub.proxy", "tokenhub.providers.client")

IO_MODULES = frozenset(
    {
        "asyncio",
        "http",
        "multiprocessing",
        "os",
        "select",
        "shutil",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
    }
    | {"threading", "urllib.request"}
)
IO_CALLS = frozenset({"read_bytes", "read_text", "write_bytes", "write_text"})
IO_IN_CORE = ("tokenhub.providers.client", "tokenhub.catalog.load")
"""The one moves the bytes, the other reads the package's own data."""

CLOCK_READS = frozenset(
    {
        f"time.{name}"
        for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "clock_gettime")
    }
    | {f"datetime.{name}" for name in ("now", "utcnow", "today")}
    | {"date.today"}
)

HEAVY = ("aiohttp", "cryptography", "openai", "peewee", "psycopg", "requests", "stripe", "xllamacpp")
"""Packages that take too long to load for a command that may not need them."""

NOT_TO_SERVE = ("aiohttp.web", "openai", "psycopg", "requests", "rich", "segno", "stripe", "xllamacpp")
"""Packages and modules that would only take memory where requests are served from SQLite."""

UNFINISHED = re.compile(r"NotImplementedError|\b(?:TODO|FIXME|XXX|HACK)\b")

# Split, so that this file does not say what it forbids.
NOT_TO_BE_NAMED = (
    *("py" + "pi.org", "python" + "hosted", "crates" + ".io", "npm" + "js.", "proxy." + "golang", "maven" + ".org"),
    *(
        "deb." + "debian",
        "hugging" + "face.co",
        "/ro" + "ot/",
        "/wo" + "rk/",
        ".py" + "env",
        "/opt/" + "wheels",
        "/tmp/" + "th/",
    ),
)


@dataclass(frozen=True)
class Import:
    """One imported module, or one name imported from a module."""

    module: str
    line: int
    relative: bool
    for_types: bool
    """Under ``if TYPE_CHECKING``: never executed."""


@dataclass(frozen=True)
class Source:
    """One module of TokenHub."""

    name: str
    tree: ast.Module
    text: str

    @property
    def package(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ROOT_MODULES

    def within(self, homes: tuple[str, ...]) -> bool:
        return any(self.name == home or self.name.startswith(home + ".") for home in homes)

    def imports(self) -> Iterator[Import]:
        """Every import, at the top or inside a function."""
        types_only = {
            id(inner)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for part in node.body
            for inner in ast.walk(part)
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno, False, id(node) in types_only)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    module = f"{node.module}.{alias.name}"
                    known = module if module in names() else str(node.module)
                    yield Import(known, node.lineno, node.level > 0, id(node) in types_only)


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def names() -> frozenset[str]:
    return frozenset(module_name(file) for file in PACKAGE.rglob("*.py"))


@cache
def sources() -> tuple[Source, ...]:
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        found.append(Source(module_name(file), ast.parse(text), text))
    return tuple(found)


def package_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ROOT_MODULES


def own_imports(source: Source) -> Iterator[Import]:
    return (one for one in source.imports() if one.module.split(".")[0] == "tokenhub")


@cache
def committed() -> tuple[Path, ...]:
    """Every file that is, or is about to be, part of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    files = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(sorted(file for file in files if file.is_file()))


def found_nothing(broken: list[str]) -> None:
    assert not broken, "\n" + "\n".join(broken)


def test_imports_go_downward_only() -> None:
    found_nothing(
        [
            f"{source.name}:{one.line} imports {one.module}"
            for source in sources()
            for one in own_imports(source)
            if package_of(one.module) not in MAY_IMPORT[source.package] | {source.package, ROOT_MODULES}
            and (source.name, one.module) not in DOORS_MEET
        ]
    )


def test_every_package_has_a_rule() -> None:
    packages = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert packages == MAY_IMPORT.keys() - {ROOT_MODULES}


def test_cli_reaches_the_store_through_operations_alone() -> None:
    found_nothing(
        [
            f"{source.name}:{one.line} imports {one.module}"
            for source in sources()
            if source.package == "cli"
            for one in own_imports(source)
            if package_of(one.module) == "store" and not one.for_types
        ]
    )


def test_the_core_is_told_the_time_and_the_options() -> None:
    found_nothing(
        [
            f"{source.name}:{one.line} imports {one.module}"
            for source in sources()
            if source.package in CORE
            for one in own_imports(source)
            if one.module in NOT_IN_CORE
        ]
    )


def test_the_core_does_no_io() -> None:
    broken = []
    for source in sources():
        if source.package not in CORE or source.within(IO_IN_CORE):
            continue
        broken += [f"{source.name}:{one.line} imports {one.module}" for one in source.imports() if is_io(one.module)]
        broken += [
            f"{source.name}:{node.lineno} calls {called(node)}"
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Call) and (called(node) == "open" or called(node).rsplit(".", 1)[-1] in IO_CALLS)
        ]
    found_nothing(broken)


def is_io(module: str) -> bool:
    return module in IO_MODULES or module.split(".")[0] in IO_MODULES


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def test_no_module_imports_itself_through_others() -> None:
    graph = {
        source.name: {one.module for one in own_imports(source) if not one.for_types} - {source.name}
        for source in sources()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_imports_are_absolute() -> None:
    found_nothing([f"{source.name}:{one.line}" for source in sources() for one in source.imports() if one.relative])


def test_every_package_from_outside_has_one_home() -> None:
    found_nothing(
        [
            f"{source.name}:{one.line} imports {one.module}; its home is {', '.join(homes)}"
            for source in sources()
            for one in source.imports()
            if (homes := HOMES.get(one.module.split(".")[0])) and not source.within(homes)
        ]
    )


def test_coroutines_are_written_only_where_requests_are_carried() -> None:
    waits = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    found_nothing(
        [
            f"{source.name}:{node.lineno}"
            for source in sources()
            if not source.within(ASYNC_HOMES)
            for node in ast.walk(source.tree)
            if isinstance(node, waits)
        ]
    )


def test_t99_time_is_read_by_the_clock_alone() -> None:
    found_nothing(
        [
            f"{source.name}:{node.lineno} calls {called(node)}"
            for source in sources()
            if source.name != "tokenhub.clock"
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Call) and ".".join(called(node).split(".")[-2:]) in CLOCK_READS
        ]
    )


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    assert loaded_by("tokenhub.cli.app", HEAVY) == ""


def test_a_serving_process_starts_without_what_it_does_not_need() -> None:
    assert loaded_by("tokenhub.cli.serve, tokenhub.operations.hub, tokenhub.proxy.supervisor", NOT_TO_SERVE) == ""


def loaded_by(modules: str, unwanted: tuple[str, ...]) -> str:
    program = f"import sys, {modules}; print(*sorted(set({unwanted!r}) & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_nothing_is_left_unfinished() -> None:
    found_nothing(
        [
            f"{source.name}:{number} {line.strip()}"
            for source in sources()
            for number, line in enumerate(source.text.splitlines(), 1)
            if UNFINISHED.search(line)
        ]
    )


def test_public_modules_classes_and_functions_have_docstrings() -> None:
    """Exempt is what is said in full elsewhere.

    A class without methods and a function of one statement say it by name and fields; a
    method that a base class or an interface asks for is described there.
    """
    asked_for = {name for source in sources() for node in source.tree.body for name in described_methods(node)}
    broken = [f"{source.name}: the module" for source in sources() if not ast.get_docstring(source.tree)]
    for source in sources():
        for scope, node in public_definitions(source.tree):
            if not ast.get_docstring(node) and not says_it_all(node) and not is_described(scope, node, asked_for):
                broken.append(f"{source.name}:{node.lineno} {node.name}")
    found_nothing(broken)


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public_definitions(scope: ast.Module | ast.ClassDef) -> Iterator[tuple[ast.Module | ast.ClassDef, Definition]]:
    for node in scope.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield scope, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def described_methods(node: ast.stmt) -> set[str]:
    """Return the methods that an interface describes for all who implement it."""
    if not isinstance(node, ast.ClassDef) or "Protocol" not in (ast.unparse(base) for base in node.bases):
        return set()
    return {part.name for part in node.body if isinstance(part, Definition) and ast.get_docstring(part)}


def is_described(scope: ast.Module | ast.ClassDef, node: Definition, asked_for: set[str]) -> bool:
    return isinstance(scope, ast.ClassDef) and (bool(scope.bases) or node.name in asked_for)


def says_it_all(node: Definition) -> bool:
    if isinstance(node, ast.ClassDef):
        return not any(isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) for part in node.body)
    return len(node.body) == 1


def test_no_committed_file_names_a_registry_or_a_place_on_somebodys_machine() -> None:
    broken = []
    for file in committed():
        text = file.read_bytes().decode("utf-8", "replace")
        broken += [f"{file.relative_to(ROOT)}: {word}" for word in NOT_TO_BE_NAMED if word in text]
    found_nothing(broken)


def test_counted_runs_can_be_asked_for_at_full_size() -> None:
    """`make soak` selects by the marker; a test that scales itself and lacks it would never run in full."""
    scaled = [
        file
        for file in (ROOT / "tests").rglob("test_*.py")
        if file != Path(__file__) and "TOKENHUB_SOAK" in file.read_text("utf-8")
    ]
    found_nothing([str(file.relative_to(ROOT)) for file in scaled if "mark.soak" not in file.read_text("utf-8")])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel as the pinned build backend makes it, offline."""
    folder = tmp_path_factory.mktemp("wheel")
    backend = PROJECT["build-system"]["build-backend"]
    importlib.import_module(backend)
    program = f"import importlib; importlib.import_module({backend!r}).build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        yield opened


def test_t128_the_wheel_holds_the_source_tree_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    tree = {str(file.relative_to(ROOT)) for file in committed() if file.is_relative_to(PACKAGE)}
    assert packed == tree
    assert [name for name in sorted(packed) if wheel.read(name) != (ROOT / name).read_bytes()] == []


def test_t128_nothing_in_the_wheel_runs_by_itself(wheel: zipfile.ZipFile) -> None:
    assert [name for name in wheel.namelist() if name.endswith((".pth", ".so", ".sh")) or ".data/" in name] == []
    entry_points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert wheel.read(entry_points).decode().split() == ["[console_scripts]", "tokenhub=tokenhub.cli.app:main"]


def test_t128_the_wheel_carries_the_licence_and_the_version(wheel: zipfile.ZipFile) -> None:
    from tokenhub import __version__

    metadata = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/METADATA"))
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    (licence,) = (name for name in wheel.namelist() if name.endswith("/licenses/LICENSE"))
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda lock: lock.stem)
def test_t128_every_locked_package_has_one_version_and_hashes(lock: Path) -> None:
    text = "\n".join(line for line in lock.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    entries = re.split(r"\n(?! )", text.replace("\\\n", "\n"))
    assert entries
    entry = re.compile(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==[0-9][^ ;]*( ; [^\n]+)?\s*(\n    --hash=sha256:[0-9a-f]{64} *)+")
    found_nothing([each.splitlines()[0] for each in entries if not entry.fullmatch(each.strip())])


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8").splitlines()
    return dict(re.match(r"([a-z0-9-]+)\S*?==(\S+)", line).groups() for line in lines if line[:1].isalnum())  # type: ignore[union-attr]


def test_t128_the_locks_hold_what_the_project_asks_for_and_agree() -> None:
    asked = {
        re.match(r"[A-Za-z0-9_-]+", one)[0].lower().replace("_", "-") for one in PROJECT["project"]["dependencies"]
    }  # type: ignore[index]
    assert asked <= locked("run").keys()
    for narrow, wide in (("run", "postgres"), ("postgres", "test")):
        assert locked(narrow).items() <= locked(wide).items()
