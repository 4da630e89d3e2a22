"""The proof that the ledger adds up: every sum made again from the rows it sums up.

The statements are those of ``billing/invariants.py``. All is read from one snapshot, while
the gateway runs, and row by row, so that memory stays flat however much there is. Requests
whose one lot is named in their row need no look: the database's own checks hold them.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from tokenhub.billing import invariants
from tokenhub.billing.holds import End
from tokenhub.billing.invariants import AccountSums, Discrepancy, HoldSums, KeySums, LotSums, RequestSums, Sums
from tokenhub.store.database import Database

FETCH: Final = 500
"""Rows read at a time."""

_LOTS: Final = """
SELECT l.id, l.account_id, l.granted, l.available, l.held, l.spent, l.expired, l.returned,
       COALESCE(e.total, 0), COALESCE(h.total, 0), COALESCE(c.total, 0)
FROM lots l
LEFT JOIN (SELECT lot_id, account_id, SUM(amount) AS total FROM entries GROUP BY lot_id, account_id) e
       ON e.lot_id = l.id AND e.account_id = l.account_id
LEFT JOIN (SELECT lot_id, account_id, SUM(amount) AS total FROM (
               SELECT lot_id, account_id, amount FROM holds WHERE lot_id IS NOT NULL
               UNION ALL
               SELECT p.lot_id, o.account_id, p.amount FROM hold_lots p JOIN holds o ON o.request_id = p.request_id
           ) parts GROUP BY lot_id, account_id) h
       ON h.lot_id = l.id AND h.account_id = l.account_id
LEFT JOIN (SELECT lot_id, account_id, SUM(amount) AS total FROM (
               SELECT lot_id, account_id, charged AS amount FROM requests WHERE lot_id IS NOT NULL
               UNION ALL
               SELECT p.lot_id, r.account_id, p.amount FROM request_lots p JOIN requests r ON r.id = p.request_id
           ) parts GROUP BY lot_id, account_id) c
       ON c.lot_id = l.id AND c.account_id = l.account_id
ORDER BY l.id
"""

_ACCOUNTS: Final = """
SELECT a.id, a.available, a.held, a.open_holds, a.next_expiry,
       COALESCE(l.available, 0), COALESCE(l.held, 0), COALESCE(h.amount, 0), COALESCE(h.holds, 0), l.first_expiry
FROM accounts a
LEFT JOIN (SELECT account_id, SUM(available) AS available, SUM(held) AS held,
                  MIN(CASE WHEN available > 0 THEN expires_at END) AS first_expiry
           FROM lots GROUP BY account_id) l ON l.account_id = a.id
LEFT JOIN (SELECT account_id, SUM(amount) AS amount, COUNT(*) AS holds FROM holds GROUP BY account_id) h ON h.account_id = a.id
ORDER BY a.id
"""

_KEYS: Final = """
SELECT k.id, k.period_held, COALESCE(h.amount, 0)
FROM keys k
LEFT JOIN (SELECT key_id, period_start, SUM(amount) AS amount FROM holds GROUP BY key_id, period_start) h
       ON h.key_id = k.id AND h.period_start = k.period_start
ORDER BY k.id
"""

_HOLDS: Final = """
SELECT h.request_id, h.amount, CASE WHEN h.lot_id IS NULL THEN 0 ELSE h.amount END + COALESCE(p.total, 0),
       CASE WHEN r.id IS NULL THEN 0 ELSE 1 END
FROM holds h
LEFT JOIN (SELECT request_id, SUM(amount) AS total FROM hold_lots GROUP BY request_id) p ON p.request_id = h.request_id
LEFT JOIN requests r ON r.id = h.request_id
UNION ALL
SELECT p.request_id, 0, SUM(p.amount), 0 FROM hold_lots p
WHERE NOT EXISTS (SELECT 1 FROM holds h WHERE h.request_id = p.request_id) GROUP BY p.request_id
"""

_REQUESTS: Final = """
SELECT r.id, r."end", r.held, r.model_fee, r.service_fee, r.charged,
       CASE WHEN r.lot_id IS NULL THEN 0 ELSE r.charged END + COALESCE(p.total, 0)
FROM requests r
LEFT JOIN (SELECT request_id, SUM(amount) AS total FROM request_lots GROUP BY request_id) p ON p.request_id = r.id
WHERE p.total IS NOT NULL OR (r.charged > 0 AND (r.lot_id IS NULL OR r."end" = 'released'))
UNION ALL
SELECT p.request_id, 'released', 0, 0, 0, 0, SUM(p.amount) FROM request_lots p
WHERE NOT EXISTS (SELECT 1 FROM requests r WHERE r.id = p.request_id) GROUP BY p.request_id
"""

_SUMS: Final[tuple[tuple[str, Callable[..., Sums]], ...]] = (
    (_LOTS, LotSums),
    (_ACCOUNTS, AccountSums),
    (_KEYS, KeySums),
    (_HOLDS, lambda request_id, amount, parts, ended: HoldSums(request_id, amount, parts, bool(ended))),
    (_REQUESTS, lambda request_id, end, *amounts: RequestSums(request_id, End(end), *amounts)),
)


def verify(database: Database) -> list[Discrepancy]:
    """Add everything up again and return what does not agree: lots, accounts, keys, holds, requests."""
    with database.read():
        return invariants.check(sums(database))


def sums(database: Database) -> Iterator[Sums]:
    """Return each row's amounts beside what they should sum up, inside the caller's read."""
    for sql, make in _SUMS:
        for row in _stream(database, sql):
            yield make(*row)


def _stream(database: Database, sql: str) -> Iterator[tuple[Any, ...]]:
    """Return a query's rows a few at a time; PostgreSQL would send them all at once without a cursor of its own."""
    if database.kind == "sqlite":
        cursor = database.execute(sql)
        while rows := cursor.fetchmany(FETCH):
            yield from rows
        return
    database.execute(f"DECLARE audit NO SCROLL CURSOR FOR {sql}")
    while rows := database.rows(f"FETCH {FETCH} FROM audit"):
        yield from rows
    database.execute("CLOSE audit")
