"""How long the whole audit takes, and how much memory: 1 000 000 requests on 10 000 lots in under a minute.

The rows are made in SQL by the database itself, ten thousand lots of a hundred accounts, bought
by as many top-ups; six of seven days are closed. One request in fifty was paid by two lots.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import process_environment
from tests.fakes.bank import DAY, NOW, Bank
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import audit, days
from tokenhub.store.database import Database, open_database

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800 if SOAK else 300)]
REQUESTS, LOTS, ACCOUNTS = (1_000_000, 10_000, 100) if SOAK else (20_000, 500, 20)
DAYS = 7
FEE, SERVICE = 9_000, 270
CHARGE = FEE + SERVICE
CREDIT = 10**10
LIMIT_S = 60
MEMORY_MB = 60
"""How much the audit may add to a process that has opened the store; all its rows are some hundred megabytes."""

NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count}) ",
    "postgres": "WITH n(i) AS (SELECT generate_series(0, {count} - 1)) ",
}


def numbers(database: Database, count: int, insert: str) -> str:
    """Return a statement that inserts what is selected from ``n``, whose ``i`` counts from 0."""
    into, _, select = insert.partition(" SELECT ")
    head = NUMBERS[database.kind].format(count=count)
    return f"{into} {head}SELECT {select}" if database.kind == "sqlite" else f"{head}{into} SELECT {select}"


def seed(database: Database) -> None:
    """Fill the store: account i has the lots i, i + ACCOUNTS …; request i is of account i, and paid by lot i."""
    first, lots_each = days.day_of(NOW) - DAYS * DAY, LOTS // ACCOUNTS
    statements = [
        f"INSERT INTO accounts (name, plan_id, created_at) SELECT 'a' || i, 'starter', {first} FROM n WHERE i < {ACCOUNTS}",
        f"INSERT INTO keys (id, account_id, prefix, digest, created_at) SELECT 'key' || i, i + 1, '', CAST('' || i AS {{blob}}), {first} "
        f"FROM n WHERE i < {ACCOUNTS}",
        "INSERT INTO lots (account_id, kind, ref, granted, available, expires_at, created_at) "
        f"SELECT i % {ACCOUNTS} + 1, 'topup', 'pi' || i, {CREDIT}, {CREDIT}, {NOW + 300 * DAY}, {first} FROM n WHERE i < {LOTS}",
        "INSERT INTO topups (id, account_id, kind, state, currency, amount, rate, credit, livemode, params, payment_intent, "
        "paid_amount, paid_total, paid_at, lot_id, created_at, updated_at) "
        f"SELECT 't' || i, i % {ACCOUNTS} + 1, 'checkout', 'paid', 'usd', 1000, 1000000, {CREDIT}, 0, '{{{{}}}}', 'pi' || i, "
        f"1000, 1000, {first}, i + 1, {first}, {first} FROM n WHERE i < {LOTS}",
        "INSERT INTO entries (account_id, lot_id, kind, ref, amount, created_at) "
        f"SELECT i % {ACCOUNTS} + 1, i + 1, 'topup', 'pi' || i, {CREDIT}, {first} FROM n WHERE i < {LOTS}",
        'INSERT INTO requests (id, account_id, key_id, "end", started_at, ended_at, capability, model, provider, held, model_fee, '
        "service_fee, charged, lot_id, attempts) "
        f"SELECT substr('' || (1000000000 + i), 2), i % {ACCOUNTS} + 1, 'key' || (i % {ACCOUNTS}), 'settled', "
        f"{first} + i * {DAYS * DAY // REQUESTS}, {first} + i * {DAYS * DAY // REQUESTS}, 'chat', 'model-' || (i % 7), 'provider-' || (i % 3), "
        f"{CHARGE}, {FEE}, {SERVICE}, {CHARGE}, CASE WHEN i % 50 = 0 THEN NULL ELSE i % {LOTS} + 1 END, "
        '\'[{{"deployment":"provider/model@region","outcome":"ok","status":200,"ms":812}}]\' '
        f"FROM n WHERE i < {REQUESTS}",
        "INSERT INTO request_lots (request_id, lot_id, amount) "
        f"SELECT substr('' || (1000000000 + i), 2), i % {LOTS} + 1, 100 FROM n WHERE i < {REQUESTS} AND i % 50 = 0",
        "INSERT INTO request_lots (request_id, lot_id, amount) "
        f"SELECT substr('' || (1000000000 + i), 2), (i + {ACCOUNTS}) % {LOTS} + 1, {CHARGE - 100} FROM n WHERE i < {REQUESTS} AND i % 50 = 0",
    ]
    assert lots_each * ACCOUNTS == LOTS
    with database.write():
        for statement in statements:
            blob = "BLOB" if database.kind == "sqlite" else "BYTEA"
            database.execute(numbers(database, REQUESTS, statement).format(blob=blob))
        paid = "SELECT lot_id, SUM(amount) AS total FROM (SELECT lot_id, charged AS amount FROM requests WHERE lot_id IS NOT NULL UNION ALL SELECT lot_id, amount FROM request_lots) parts GROUP BY lot_id"
        database.execute(
            f"UPDATE lots SET spent = paid.total, available = granted - paid.total FROM ({paid}) paid WHERE paid.lot_id = lots.id"
        )
        database.execute(
            f"UPDATE accounts SET available = (SELECT SUM(available) FROM lots WHERE account_id = accounts.id), next_expiry = {NOW + 300 * DAY}"
        )
    for day in range(first, first + (DAYS - 1) * DAY, DAY):
        days.close(database, day, list(days.add_up(database, day)), NOW)


def test_audit_of_a_million_requests_is_quick_and_its_memory_flat(database, settings, home):
    Bank(database, home)
    seed(database)
    database.close()
    environment = process_environment(settings, home) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-m", "tests.store.test_audit_load"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    faults, rows, seconds, fast_seconds, megabytes = found.stdout.split()
    print(f"\n{database.kind}: {REQUESTS} requests, {LOTS} lots: {seconds} s, fast {fast_seconds} s, {megabytes} MB")
    assert (int(faults), int(rows)) == (0, REQUESTS)
    assert float(seconds) < LIMIT_S
    assert float(fast_seconds) < LIMIT_S / 10
    assert float(megabytes) < MEMORY_MB


def peak_mb() -> float:
    """Return the most memory that this process has had at once."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    """Audit the store that the environment names; say what was found, and what it took."""
    database = open_database(
        Settings(database_url=os.environ.get("TOKENHUB_DATABASE_URL", "")),
        Home(Path(os.environ["TOKENHUB_HOME"]), explicit=True),
    )
    row = database.row("SELECT COUNT(*) FROM requests")
    before = peak_mb()
    times = [time.perf_counter()]
    faults = audit.verify(database)
    times.append(time.perf_counter())
    faults += audit.verify_fast(database)
    times.append(time.perf_counter())
    more = peak_mb() - before
    database.close()
    assert row is not None
    for fault in faults[:5]:
        print(fault, file=sys.stderr)
    print(len(faults), row[0], f"{times[1] - times[0]:.2f} {times[2] - times[1]:.2f} {more:.1f}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
