"""Making and opening an installation: T43, T91, T93, T127, T129."""

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import hub_flags, process_environment
from tokenhub import paths
from tokenhub.errors import Conflict, SetupError
from tokenhub.operations import accounts, doctor, first_run
from tokenhub.operations import hub as hub_module
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import leases, migrate, revision
from tokenhub.store.vault import load_master_key

ONLY_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


@pytest.fixture
def flags(empty_settings: Settings) -> dict[str, object]:
    return {"database.url": empty_settings.database_url or None, "local.enabled": False}


@pytest.fixture
def default_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The platform's own place, in a temporary folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return paths.home()


def test_an_installation_that_was_made_can_be_opened(flags: dict[str, object], home: Home) -> None:
    with Hub.init(home, flags) as made:
        plans = [name for (name,) in made.database.rows("SELECT id FROM plans ORDER BY id")]
        sealed = made.vault.seal("secret", b"row")
    with Hub.open(home, flags) as opened:
        assert opened.instance == made.instance
        assert opened.vault.open(sealed, b"row") == "secret"
        assert revision.read(opened.database).revision >= 1
        assert (made.is_new, opened.is_new) == (True, False)
    assert plans == ["enterprise", "pro", "starter"]
    assert made.instance.startswith("inst_")


def test_an_installation_is_made_once(flags: dict[str, object], home: Home) -> None:
    Hub.init(home, flags).close()
    with pytest.raises(SetupError, match="already"):
        Hub.init(home, flags)
    Hub.open(home, flags).close()


def test_an_init_beside_another_leaves_the_key_that_the_other_made(
    flags: dict[str, object], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def the_other_is_first(mine: Home, *, create: bool) -> bytes:
        monkeypatch.undo()
        Hub.init(mine, flags).close()
        return load_master_key(mine, create=create)

    monkeypatch.setattr(hub_module, "load_master_key", the_other_is_first)
    with Hub.init_or_open(home, flags) as second:
        assert not second.is_new
    Hub.open(home, flags).close()


@pytest.mark.parametrize("place", ["applied", "known"])
def test_an_init_that_another_overtakes_opens_what_that_one_made(
    flags: dict[str, object], home: Home, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(migrate, place)

    def the_other_is_first(*given: object) -> object:
        found = real(*given)
        monkeypatch.undo()
        Hub.init(home, flags).close()
        return found

    monkeypatch.setattr(migrate, place, the_other_is_first)
    with Hub.init_or_open(home, flags) as second:
        assert not second.is_new


@ONLY_SQLITE
def test_a_first_serve_that_another_overtakes_makes_no_second_account(
    flags: dict[str, object], default_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hub.init(default_home, flags).close()
    listing = accounts.listing

    def the_other_is_first(hub: Hub) -> list[accounts.AccountState]:
        found = listing(hub)
        monkeypatch.undo()
        if not hub.database.in_write:
            assert first_run.first_key(hub) is not None
        return found

    monkeypatch.setattr(accounts, "listing", the_other_is_first)
    with Hub.open(default_home, flags) as hub:
        first_run.first_key(hub)
        assert len(listing(hub)) == 1


def test_an_init_puts_nothing_in_the_place_of_a_lost_key(flags: dict[str, object], home: Home) -> None:
    Hub.init(home, flags).close()
    home.master_key.unlink()
    with pytest.raises(SetupError, match="master key"):
        Hub.init_or_open(home, flags)
    assert not home.master_key.exists()


def test_t129_a_first_run_leaves_nothing_open_to_others(flags: dict[str, object], home: Home) -> None:
    before = os.umask(0)
    try:
        with Hub.init(home, flags) as hub:
            assert hub.warnings() == []
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in home.path.rglob("*")}
            assert hub.settings.server_host == "127.0.0.1"
            assert (
                hub.database.rows(
                    "SELECT 1 FROM keys UNION ALL SELECT 1 FROM accounts UNION ALL SELECT 1 FROM credentials"
                )
                == []
            )
    finally:
        os.umask(before)
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


def test_t93_looser_modes_are_warned_of(flags: dict[str, object], home: Home) -> None:
    Hub.init(home, flags).close()
    home.path.chmod(0o755)
    with Hub.open(home, flags) as hub:
        assert [warning.split()[0] for warning in hub.warnings()] == [str(home.path)]


def test_t43_another_master_key_stops_the_start(
    flags: dict[str, object], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hub.init(home, flags).close()
    monkeypatch.setenv("TOKENHUB_MASTER_KEY", "A" * 43 + "=")
    with pytest.raises(SetupError, match=r"the master key \(TOKENHUB_MASTER_KEY\) is not the one"):
        Hub.open(home, flags)


def test_t43_a_missing_master_key_stops_the_start(flags: dict[str, object], home: Home) -> None:
    Hub.init(home, flags).close()
    home.master_key.unlink()
    with pytest.raises(SetupError, match=r"master\.key"):
        Hub.open(home, flags)


def test_the_master_key_may_come_from_the_environment_alone(
    flags: dict[str, object], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENHUB_MASTER_KEY", "B" * 43 + "=")
    Hub.init(home, flags).close()
    assert not home.master_key.exists()
    Hub.open(home, flags).close()


@ONLY_SQLITE
def test_t91_a_named_home_that_does_not_exist_is_an_error(flags: dict[str, object], home: Home) -> None:
    for attempt in (Hub.open, Hub.open_or_init):
        with pytest.raises(SetupError, match=f"no TokenHub home at {home.path}"):
            attempt(home, flags)
        assert not home.path.exists()


@ONLY_SQLITE
def test_t91_the_first_serve_makes_an_installation_in_the_default_home(
    flags: dict[str, object], default_home: Home
) -> None:
    with Hub.open_or_init(default_home, flags) as first:
        assert first.is_new
    with Hub.open_or_init(default_home, flags) as second:
        assert (second.is_new, second.instance) == (False, first.instance)


@ONLY_SQLITE
@pytest.mark.parametrize(
    "lost", [["config"], ["master_key"], ["database"], ["database", "config"], ["master_key", "config"]]
)
def test_t91_a_partial_default_home_is_never_filled_up_in_passing(
    flags: dict[str, object], default_home: Home, lost: list[str]
) -> None:
    Hub.open_or_init(default_home, flags).close()
    for part in lost:
        getattr(default_home, part).unlink()
    left = sorted(path.name for path in default_home.path.iterdir())
    if lost == ["config"]:
        Hub.open_or_init(default_home, flags).close()  # every option has a default
    else:
        with pytest.raises(SetupError, match=r"no database in|no master key"):
            Hub.open_or_init(default_home, flags)
    assert sorted(path.name for path in default_home.path.iterdir()) == left


def test_t91_a_named_database_is_never_made_in_passing(
    flags: dict[str, object], default_home: Home, backend: str
) -> None:
    if backend == "postgres":
        with pytest.raises(SetupError, match="master key"):
            Hub.open_or_init(default_home, flags)
        assert not default_home.path.exists()
    else:
        Hub.open_or_init(default_home, flags).close()
        assert default_home.database.exists()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_a_home_whose_database_is_on_postgresql_says_without_its_address_that_this_may_be_missing(
    flags: dict[str, object], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hub.init(home, flags).close()
    with pytest.raises(SetupError, match=r"set TOKENHUB_DATABASE_URL, where it is on PostgreSQL"):
        Hub.open(home, {})
    monkeypatch.setenv("TOKENHUB_DATABASE_URL", str(flags["database.url"]))
    Hub.open(home, {}).close()


@ONLY_SQLITE
@pytest.mark.parametrize("there", ["config", "master_key", "both"])
def test_t100_an_interrupted_init_is_completed_by_the_next(
    flags: dict[str, object], home: Home, tmp_path: Path, there: str
) -> None:
    complete = Home(tmp_path / "complete", explicit=True)
    Hub.init(complete, flags).close()
    paths.make_folder(home.path)
    for part in ("config", "master_key"):
        if there in (part, "both"):
            shutil.copy(getattr(complete, part), getattr(home, part))
    key = home.master_key.read_bytes() if home.master_key.exists() else None
    Hub.init(home, flags).close()
    Hub.open(home, flags).close()
    assert key in (None, home.master_key.read_bytes())


@pytest.mark.parametrize("away_ms", [30_000, -40_000], ids=["silent", "renewed by a clock that was set back"])
def test_t100_nothing_is_upgraded_while_a_gateway_of_the_older_version_runs(
    hub: Hub, hub_settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch, away_ms: int
) -> None:
    """It would go on by rules that do not hold any more."""
    monkeypatch.setenv("TOKENHUB_DATABASE_URL", hub_settings.database_url)

    def open_newer() -> None:
        Hub.open(home, hub_flags(hub_settings)).close()

    def is_upgraded() -> bool:
        return migrate.applied(hub.database) == migrate.known()

    now_ms = hub.database.now_ms()
    running, killed = (leases.acquire(hub.database, home, 15, now_ms) for _ in range(2))
    with hub.database.write():
        hub.database.execute("DELETE FROM migrations WHERE name = ?", (migrate.known()[-1],))
    os.close(killed.lock)
    with pytest.raises(Conflict, match="a gateway of the older version runs"):
        open_newer()
    remedies = {one.check: one.remedy for one in doctor.examine(home)}
    assert remedies["database"] == "Do as the message says."
    assert not is_upgraded()
    with hub.database.write():
        hub.database.execute("UPDATE leases SET renewed_at = ? WHERE id = ?", (now_ms - away_ms, running.id))
    open_newer()
    assert is_upgraded()
    with hub.database.write():
        assert leases.check_and_renew(hub.database, running, now_ms) is None
    os.close(running.lock)


def test_t127_a_broken_settings_file_stops_the_start(flags: dict[str, object], home: Home) -> None:
    Hub.init(home, flags).close()
    with home.config.open("a") as file:
        file.write("[server]\nprot = 1\n")
    with pytest.raises(SetupError, match=r"config\.toml:\d+: 'server\.prot' is no option"):
        Hub.open(home, flags)


@pytest.fixture
def opener(hub: Hub, home: Home) -> Callable[[str], str]:
    """Run Python in a new process of the same installation; return what it prints."""

    def run(code: str) -> str:
        environment = process_environment(hub.settings, home)
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    return run


def test_opening_a_hub_loads_no_more_than_it_needs(opener: Callable[[str], str], backend: str) -> None:
    """``keys create`` has half a second in all."""
    code = (
        "import sys; from tokenhub import paths; from tokenhub.operations.hub import Hub\n"
        "hub = Hub.open(paths.home()); hub.close()\n"
        "print(*(name for name in ('cryptography', 'aiohttp', 'playhouse', 'tomli_w', 'openai', 'asyncio.base_events') if name in sys.modules))"
    )
    began = time.perf_counter()
    loaded = set(opener(code).split())
    assert time.perf_counter() - began < 10
    assert loaded <= {"asyncio.base_events"}
