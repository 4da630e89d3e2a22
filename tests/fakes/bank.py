"""A small world for tests of the ledger: a plan, accounts with keys and credit, and operations on them."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

from tokenhub.accounts.accounts import Versions
from tokenhub.billing.holds import Operation, Outcome, Place, Release, RequestRecord, Settle
from tokenhub.ids import new_id
from tokenhub.paths import Home
from tokenhub.store import audit, leases, ledger
from tokenhub.store.database import Database
from tokenhub.store.holds import Holds

NOW = 1_790_000_000_000
"""21 September 2026, 14:13:20 UTC, a Monday."""
DAY = 86_400_000
PLAN = "starter"


class Bank:
    """One process's view of a store: its lease, and operations that carry the versions of the rows as they are."""

    def __init__(self, database: Database, home: Home, *, lease_s: float = 15) -> None:
        self.database = database
        with database.write():
            database.execute(
                "INSERT INTO plans (id, version, fee_bp, key_rpm, account_rpm, concurrency, model_names, support, sla) "
                "VALUES (?, 1, 300, 60, 600, 20, '{}', '', '') ON CONFLICT DO NOTHING",
                (PLAN,),
            )
        self.lease = leases.acquire(database, home, lease_s, NOW)
        self.holds = Holds(database)

    def account(self, name: str, credit: int = 0, *, expires_at: int | None = None, keys: int = 1) -> int:
        """Make an account with credit and keys named ``{name}-0``, ``{name}-1`` …; return its id."""
        with self.database.write():
            row = self.database.row(
                "INSERT INTO accounts (name, version, status, plan_id, available, held, open_holds, created_at) "
                "VALUES (?, 1, 'active', ?, 0, 0, 0, ?) RETURNING id",
                (name, PLAN, NOW),
            )
            assert row is not None
            for number in range(keys):
                self.key(row[0], f"{name}-{number}")
            if credit:
                ledger.grant(self.database, row[0], credit, f"{name}-start", expires_at, "", NOW)
        return int(row[0])

    def key(self, account_id: int, key_id: str, **columns: Any) -> str:
        values = {
            "id": key_id,
            "account_id": account_id,
            "version": 1,
            "name": "",
            "prefix": "th-test",
            "digest": sha256(key_id.encode()).digest(),
            "status": "active",
            "spend_period": "total",
            "period_start": 0,
            "period_spent": 0,
            "period_held": 0,
            "created_at": NOW,
        } | columns
        marks = ", ".join("?" * len(values))
        with self.database.write():
            self.database.execute(f"INSERT INTO keys ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
        return key_id

    def set(self, table: str, row_id: str | int, **columns: Any) -> None:
        """Change a row as management does: with its version."""
        assignments = ", ".join(f"{name} = ?" for name in columns)
        with self.database.write():
            self.database.execute(
                f"UPDATE {table} SET {assignments}, version = version + 1 WHERE id = ?", (*columns.values(), row_id)
            )

    def serve(self, key_id: str, at_ms: int, model_fee: int = 100, service_fee: int = 3, **record: Any) -> str:
        """Place and settle a request; return its id."""
        request_id = new_id("req", at_ms)
        self.do(self.place(request_id, key_id, max(1_000, model_fee + service_fee)), at_ms)
        self.do(self.settle(request_id, key_id, model_fee, service_fee, **record), at_ms)
        return request_id

    def place(self, request_id: str, key_id: str, wanted: int, **fields: Any) -> Place:
        """Return a place for what is wanted, planned on the rows as they are now."""
        row = self.database.row(
            "SELECT a.id, i.version, i.catalog_version, p.version, a.version, k.version "
            "FROM keys k JOIN accounts a ON a.id = k.account_id JOIN plans p ON p.id = a.plan_id "
            "CROSS JOIN installation i WHERE k.id = ?",
            (key_id,),
        )
        assert row is not None
        account_id, *versions = row
        place = Place(
            request_id=request_id,
            key_id=key_id,
            account_id=account_id,
            versions=Versions(*versions),
            wanted_nano=wanted,
            minimum_nano=wanted,
            output_token_atto=0,
            output_wanted=0,
            output_minimum=0,
            key_rpm=10**6,
            account_rpm=10**6,
            concurrency=10**6,
            price_version="p1",
        )
        return replace(place, **fields)

    def adopt(self, request_id: str) -> None:
        """Make a request's hold that of a video which is being made."""
        with self.database.write():
            self.database.execute("UPDATE holds SET owner = 'job', lease_id = NULL WHERE request_id = ?", (request_id,))
            self.database.execute(
                "INSERT INTO jobs (id, account_id, key_id, capability, state, next_poll_at, expires_at, created_at)"
                " SELECT request_id, account_id, key_id, 'video', 'queued', ?, ?, ? FROM holds WHERE request_id = ?",
                (NOW, NOW + DAY, NOW, request_id),
            )

    def settle(self, request_id: str, key_id: str, model_fee: int, service_fee: int = 0, **record: Any) -> Settle:
        return Settle(request_id, model_fee, service_fee, self.record(key_id, **record))

    def release(self, request_id: str, key_id: str | None = None, **record: Any) -> Release:
        return Release(request_id, None if key_id is None else self.record(key_id, **record))

    def record(self, key_id: str, **fields: Any) -> RequestRecord:
        row = self.database.row("SELECT account_id FROM keys WHERE id = ?", (key_id,))
        assert row is not None
        made = RequestRecord(row[0], key_id, NOW, "chat", "glm-4.5", provider="zhipu", region="cn", price_version="p1")
        return replace(made, **fields)

    def apply(self, *operations: Operation, now_ms: int = NOW) -> list[Outcome]:
        """Write operations as one batch."""
        with self.database.write():
            return self.holds.apply(operations, self.lease, now_ms)

    def do(self, operation: Operation, now_ms: int = NOW) -> Outcome:
        (outcome,) = self.apply(operation, now_ms=now_ms)
        return outcome

    def available(self, account_id: int) -> int:
        return ledger.balances(self.database, account_id).available_nano

    def check(self) -> None:
        """Assert every invariant of the ledger."""
        found = audit.verify(self.database)
        assert not found, found
