"""``tokenhub backup`` beside a gateway at work, and the gateway that is made of it, as an operator does both."""

import json
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.cli.program import command, data, run, surroundings
from tests.conftest import Databases
from tests.fakes.upstream import FakeUpstream, json_reply, openai_chat, openai_usage
from tests.harness import QUICK, RunningGateway, start_gateway, temporary_home
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home

MODEL = "gpt-4o-mini"
CREDIT_NANO = 10**9


def answers() -> list[object]:
    return [json_reply(openai_chat("Paris.", usage=openai_usage(1000, 500)))] * 400


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_t101_customers_go_on_where_the_backup_was_made(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A gateway under load is copied, and the copy serves on: on SQLite, and on PostgreSQL, which the first one outgrew."""
    databases: Databases | None = request.getfixturevalue("databases") if kind == "postgres" else None
    url = databases.empty() if databases else ""
    gateway = start_gateway(temporary_home(tmp_path), credit_nano=CREDIT_NANO)
    begun, over = threading.Event(), threading.Event()
    with FakeUpstream(answers()) as upstream:
        gateway.add_credential("openai", upstream.url)

        def load() -> None:
            while not over.is_set() and len(upstream.received) < 300:
                assert gateway.chat(MODEL).status == 200
                begun.set()

        thread = threading.Thread(target=load)
        thread.start()
        try:
            assert begun.wait(30)
            made = data(gateway.hub.home.path, "backup", str(tmp_path / "backup"))
            whole = run(gateway.hub.home.path, "backup", str(tmp_path / "whole"), "--whole")
            assert "A gateway is at work: what it books from now on is not in the copy." in whole.err
        finally:
            over.set()
            thread.join()
        gateway.settled(4)
        before = gateway.balance()
        gateway.stop()
        assert made["ok"]
        home = tmp_path / "new"
        more = {"TOKENHUB_DATABASE_URL": url} if url else {}
        key = str(gateway.hub.home.master_key)
        ended = run(home, "restore", made["backup"], "--master-key", key, "--json", more=more)
        assert ended.code == 0, ended.err
        shown = json.loads(ended.out)
        assert (shown["database"], shown["instance"], shown["ok"]) == (kind, made["instance"], True)
        assert run(home, "ledger", "verify", more=more).code == 0
        flags = {**QUICK, **({"database.url": url} if url else {})}
        hub = Hub.open(Home(home, explicit=True), flags)
        again = RunningGateway(hub, key=gateway.key, account_id=gateway.account_id).start()
        try:
            kept = again.balance()
            assert CREDIT_NANO > kept >= before
            assert again.chat(MODEL).status == 200
            again.settled(1)
            assert again.balance() == kept - 463_500
        finally:
            again.stop()
    if databases:
        databases.drop(url)


def test_what_a_person_is_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for words in (["init"], ["accounts", "create", "acme"], ["grant", "10"]):
        assert run(home, *words).code == 0
    made = run(home, "backup", str(tmp_path / "kept"))
    assert (made.code, made.out) == (0, "")
    assert made.err.splitlines() == [
        f"A backup is at {tmp_path}/kept (0.4 MB). Every lot, account, key, hold and request in it adds up.",
        "The master key is not in it: keep a copy of that elsewhere.",
    ]
    again = run(home, "backup", str(tmp_path / "kept"))
    assert (again.code, again.err) == (
        2,
        f"error: {tmp_path}/kept exists already. Name a new folder for each backup.\n",
    )
    keyless = run(tmp_path / "new", "restore", str(tmp_path / "kept"))
    assert (keyless.code, keyless.err) == (
        2,
        "error: A backup has no master key. Name a copy of it: --master-key FILE.\n",
    )
    done = run(tmp_path / "new", "restore", str(tmp_path / "kept"), "--master-key", str(home / "master.key"))
    assert done.code == 0
    assert done.err.startswith(f"The home {tmp_path}/new is ready, on SQLite; the newest of what is in it is of 20")
    assert "keys that were revoked, the accounts that were disabled, and the automatic recharges" in done.err
    assert "tokenhub doctor, then tokenhub serve" in done.err
    assert data(tmp_path / "new", "accounts", "show", "acme")["available_usd"] == "10"


def test_a_backup_that_is_told_to_end_takes_away_what_it_has_not_finished(tmp_path: Path) -> None:
    home, place = tmp_path / "home", tmp_path / "kept"
    assert run(home, "init").code == 0
    with Hub.open(Home(home, explicit=True), QUICK) as hub, hub.database.write():
        hub.database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) "
            "INSERT INTO requests (id, account_id, key_id, \"end\", started_at, ended_at) SELECT i, 1, 'k', 'released', i, i FROM n"
        )
    with subprocess.Popen(command("backup", str(place)), env=surroundings(home)) as running:
        while not place.exists() or not any(place.glob("*/tokenhub.db")):
            assert running.poll() is None
            time.sleep(0.002)
        running.terminate()
        assert running.wait(30) == 128 + signal.SIGTERM
    assert not place.exists()


def test_books_that_do_not_add_up_are_copied_all_the_same_and_said_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for words in (["init"], ["accounts", "create", "acme"], ["grant", "10"]):
        assert run(home, *words).code == 0
    with Hub.open(Home(home, explicit=True), QUICK) as hub, hub.database.write():
        hub.database.execute("UPDATE accounts SET available = available - 1")
    made = run(home, "backup", str(tmp_path / "kept"))
    assert made.code == 1
    assert made.err.endswith(
        "error: The books of this installation do not add up (1 row), nor do those of the copy: tokenhub ledger verify\n"
    )
    assert (tmp_path / "kept" / "tokenhub.db").exists()
