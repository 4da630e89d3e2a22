"""The check-up: what it finds, and that each finding says what to do."""

import http.server
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokenhub import clock
from tokenhub.cli import app
from tokenhub.operations import accounts, credentials, doctor, grants, master_key, plans
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.doctor import Finding, Health
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home
from tokenhub.store import catalog, leases
from tokenhub.store.migrate import HISTORY


@pytest.fixture
def installed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An installation in order: the environment names its database, a credential is there, the port is free."""
    if hub.settings.database_url:
        monkeypatch.setenv("TOKENHUB_DATABASE_URL", hub.settings.database_url)
    monkeypatch.setenv("TOKENHUB_LOCAL_ENABLED", "false")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("TOKENHUB_SERVER_PORT", str(free.getsockname()[1]))
    credentials.add(hub, NewCredential("openai", "sk-aaaabbbbccccddddeeee"))
    account = accounts.create(hub, "acme").account
    grants.grant(hub, account.id, 10**9, expires_at_ms=None)
    return hub


def wrong(home: Home) -> list[Finding]:
    return [finding for finding in doctor.examine(home) if finding.health is not Health.OK]


def test_an_installation_in_order_has_nothing_to_do(installed: Hub) -> None:
    found = doctor.examine(installed.home)
    assert [finding for finding in found if finding.health is not Health.OK or finding.remedy] == []
    checks = [
        "home",
        "disk",
        "settings",
        "database",
        "master key",
        "credentials",
        "catalog",
        "ledger",
        "shortfalls",
        "gateway",
        "videos",
        "stripe",
        "payments",
        "notices",
        "clock",
        "port",
    ]
    assert [finding.check for finding in found] == checks


def test_a_gateway_that_ran_and_is_away_is_missed(installed: Hub) -> None:
    lease = leases.acquire(installed.database, installed.home, 15, clock.now_ms())
    assert wrong(installed.home) == []
    leases.end(installed.database, lease)
    (finding,) = wrong(installed.home)
    assert (finding.check, finding.health, finding.remedy) == ("gateway", Health.WARNING, "Start one: tokenhub serve")
    assert finding.message.startswith("No gateway has been seen for ")


def test_a_home_that_is_not_there_is_a_finding_and_no_crash(home: Home) -> None:
    found = {finding.check: finding for finding in doctor.examine(home)}
    assert found["home"].health is Health.FAILED
    assert "tokenhub init" in found["home"].remedy
    assert found["database"].health is Health.FAILED


def test_t93_a_file_that_others_can_read_is_named_with_its_remedy(installed: Hub) -> None:
    installed.home.config.chmod(0o644)
    (finding,) = wrong(installed.home)
    assert (finding.check, finding.health) == ("home", Health.WARNING)
    assert finding.remedy == f"chmod 600 {installed.home.config}"


def test_t127_a_broken_setting_stops_the_check_up_there(installed: Hub) -> None:
    installed.home.config.write_text("[server]\nprt = 1\n")
    (finding,) = wrong(installed.home)
    assert (finding.check, finding.health) == ("settings", Health.FAILED)
    assert "config.toml:2" in finding.message


def test_t100_a_database_of_a_newer_version_is_no_matter_of_files_or_servers(installed: Hub) -> None:
    with installed.database.write():
        installed.database.execute(
            f"INSERT INTO {HISTORY} (name, applied) VALUES ('9999_later', '2026-11-24 00:00:00')"
        )
    (found,) = wrong(installed.home)
    assert "Run that version" in found.message
    assert found.remedy == "Do as the message says."


def test_t43_a_master_key_of_another_installation_is_noticed(installed: Hub) -> None:
    installed.home.master_key.write_text("A" * 43 + "=")
    assert [(finding.check, finding.health) for finding in wrong(installed.home)] == [("database", Health.FAILED)]


def test_t43_a_credential_that_does_not_open_is_noticed(installed: Hub) -> None:
    with installed.database.write():
        installed.database.execute("UPDATE credentials SET region = 'eu'")
    (finding,) = wrong(installed.home)
    assert (finding.check, finding.health) == ("master key", Health.FAILED)


def test_a_failed_credential_is_named(installed: Hub) -> None:
    catalog.mark_credential(installed.database, 1, catalog.FAILED, "auth 401")
    found = wrong(installed.home)
    assert {finding.check for finding in found} == {"credentials"}
    assert "auth 401" in found[0].message
    assert "credentials rotate 1" in found[0].remedy


def test_a_credential_without_its_secret_is_mended_by_a_new_one_alone(installed: Hub) -> None:
    catalog.mark_credential(installed.database, 1, catalog.FAILED, master_key.NO_SECRET)
    found = wrong(installed.home)
    assert found[0].remedy == "tokenhub credentials rotate 1"


def test_settings_that_no_gateway_can_use_are_named_one_by_one(installed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENHUB_SERVER_PUBLIC_URL", "hub.example.com")
    monkeypatch.setenv("TOKENHUB_NOTICES_EMAIL", "nobody")
    found = [one for one in wrong(installed.home) if one.check != "notices"]  # nothing goes out by mail
    assert [(one.check, one.health) for one in found] == [("settings", Health.WARNING)] * 2
    assert [one.remedy for one in found] == [
        "tokenhub config set server.public_url VALUE",
        "tokenhub config set notices.email VALUE",
    ]


@pytest.mark.parametrize("host", ["not a host", "a..b", "a/b", ""])
def test_a_host_that_has_no_address_is_no_port_of_somebody_else(
    installed: Hub, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("TOKENHUB_SERVER_HOST", host)
    found = next(one for one in doctor.examine(installed.home) if one.check == "port")
    assert found.message == f"The host {host!r} cannot be resolved to an address."
    assert found.remedy.startswith("tokenhub config set server.host ")


def test_a_store_that_cannot_be_opened_is_not_mended_by_another_home(home: Home) -> None:
    with Hub.init(home):
        pass
    home.database.write_bytes(b"no database" * 1000)
    found = next(one for one in wrong(home) if one.check == "database")
    assert "tokenhub restore DIR" in found.remedy
    home.master_key.write_text("A")
    found = next(one for one in wrong(home) if one.check == "database")
    assert "tokenhub rekey --lost" in found.remedy


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_damaged_store_is_no_matter_of_its_message_whatever_the_home_is_called(
    installed: Hub, tmp_path: Path
) -> None:
    moved = Home(tmp_path / "my tokenhub home", explicit=True)
    installed.close()
    installed.home.path.rename(moved.path)
    moved.database.write_bytes(b"no database" * 1000)
    found = next(one for one in wrong(moved) if one.check == "database")
    assert found.remedy.startswith("See to the files of ")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_store_that_refuses_its_upgrade_is_no_matter_of_the_message(installed: Hub) -> None:
    with installed.database.write():
        installed.database.execute("DELETE FROM migrations WHERE name LIKE '0007%'")
        installed.database.execute(
            "CREATE TRIGGER refused BEFORE INSERT ON migrations BEGIN SELECT RAISE(ABORT, 'not now'); END"
        )
    found = next(one for one in wrong(installed.home) if one.check == "database")
    assert found.message == "the database refused a row: not now"
    assert found.remedy.startswith("See to the files of ")


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_a_master_key_that_cannot_be_read_is_no_matter_of_the_server(installed: Hub) -> None:
    installed.home.master_key.unlink()
    installed.home.master_key.mkdir()
    found = next(one for one in wrong(installed.home) if one.check == "database")
    assert "cannot be read" in found.message
    assert found.remedy.startswith("Put your copy of the master key back")


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_t97_a_table_that_is_gone_is_named_to_the_operator(installed: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    with installed.database.write():
        installed.database.execute("ALTER TABLE credentials RENAME TO elsewhere")
    found = next(one for one in wrong(installed.home) if one.check == "credentials")
    assert 'relation "credentials" does not exist' in found.message
    assert app.run(["--home", str(installed.home.path), "credentials", "list"]) == 1
    assert 'relation "credentials" does not exist' in capsys.readouterr().err


def test_no_credential_at_all_is_named(installed: Hub) -> None:
    credentials.remove(installed, 1)
    (finding,) = wrong(installed.home)
    assert finding.remedy == "tokenhub credentials add PROVIDER"


def test_a_plan_whose_model_is_gone_is_named(installed: Hub) -> None:
    with installed.database.write():
        installed.database.execute("UPDATE plans SET model_names = '{\"fast\":[\"gone\"]}' WHERE id = 'pro'")
    (finding,) = wrong(installed.home)
    assert (finding.check, finding.health) == ("plans", Health.WARNING)
    assert plans.show(installed, "pro").model_names == {"fast": ("gone",)}


def test_books_that_do_not_add_up_are_a_failure(installed: Hub) -> None:
    with installed.database.write():
        installed.database.execute("UPDATE accounts SET available = available + 1")
    (finding,) = wrong(installed.home)
    assert (finding.check, finding.health, finding.remedy) == ("ledger", Health.FAILED, "tokenhub ledger verify")


def test_t99_a_clock_behind_the_newest_row_is_noticed(installed: Hub) -> None:
    with installed.database.write():
        installed.database.execute("UPDATE accounts SET created_at = created_at + 3600000")
    (finding,) = wrong(installed.home)
    assert (finding.check, finding.health) == ("clock", Health.WARNING)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize(("wrong_ms", "words"), [(3_600_000, "ahead of"), (-3_600_000, "behind")])
def test_t99_a_clock_that_is_not_the_database_servers_is_noticed(
    installed: Hub, monkeypatch: pytest.MonkeyPatch, wrong_ms: int, words: str
) -> None:
    machine_ms = clock.now_ms
    monkeypatch.setattr(clock, "now_ms", lambda: machine_ms() + wrong_ms)
    (finding,) = wrong(installed.home)
    assert (finding.check, finding.health) == ("clock", Health.WARNING)
    assert f"{words} the database server's" in finding.message


@pytest.mark.parametrize(("free", "health"), [(50 * 2**20, Health.FAILED), (500 * 2**20, Health.WARNING)])
def test_t89_a_disk_that_fills_up_is_noticed(
    installed: Hub, monkeypatch: pytest.MonkeyPatch, free: int, health: Health
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 2**40 - free, free))  # type: ignore[attr-defined]
    (finding,) = wrong(installed.home)
    assert (finding.check, finding.health) == ("disk", health)


@pytest.mark.parametrize(
    ("status", "body", "health"), [(200, b'{"status":"ok"}', Health.OK), (404, b"no", Health.FAILED)]
)
def test_who_has_the_port_is_told(
    installed: Hub, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, health: Health
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("TOKENHUB_SERVER_PORT", str(server.server_port))
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        finding = next(finding for finding in doctor.examine(installed.home) if finding.check == "port")
        thread.join()
    assert finding.health is health
