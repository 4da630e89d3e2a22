"""The proof that the ledger adds up: every sum made again from the rows it sums up.

The statements are those of ``billing/invariants.py``. All is read from one snapshot, while
the gateway runs, and row by row, so that memory stays flat however much there is. Requests
whose one lot is named in their row need no look: the database's own checks hold them.
Closed days and payments are in ``audit_books.py``, what requests were charged in ``audit_requests.py``.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tokenhub.billing import invariants
from tokenhub.billing.discrepancies import Discrepancy
from tokenhub.billing.holds import End
from tokenhub.billing.invariants import AccountSums, HoldSums, JobSums, KeySums, LotSums, RequestSums, Sums
from tokenhub.store import audit_books, audit_requests
from tokenhub.store.audit_books import REF_HEAD, Statement
from tokenhub.store.database import Database
from tokenhub.store.streaming import stream

_HEAD_OF_REF: Final = {
    "sqlite": "substr(ref, 1, instr(ref || '/', '/') - 1)",
    "postgres": "split_part(ref, '/', 1)",
}
"""Up to its first ``/``, a ref names the event."""

_LOTS: Final = """
SELECT l.id, l.account_id, l.granted, l.available, l.held, l.frozen, l.spent, l.expired, l.returned, l.repaid,
       COALESCE((SELECT SUM(e.amount) FROM entries e WHERE e.lot_id = l.id AND +e.account_id = l.account_id), 0),
       COALESCE(h.total, 0), {charges}
FROM lots l
LEFT JOIN (SELECT lot_id, account_id, SUM(amount) AS total FROM (
               SELECT lot_id, account_id, amount FROM holds WHERE lot_id IS NOT NULL
               UNION ALL
               SELECT p.lot_id, o.account_id, p.amount FROM hold_lots p JOIN holds o ON o.request_id = p.request_id
           ) parts GROUP BY lot_id, account_id) h
       ON h.lot_id = l.id AND h.account_id = l.account_id
ORDER BY l.id
"""

# A plus keeps a column out of the choice of an index: SQLite would read an account's lines for each of its lots.
_CLOSED_CHARGES: Final = """
COALESCE((SELECT SUM(d.amount) FROM daily_lines d WHERE d.lot_id = l.id AND +d.account_id = l.account_id
          AND +d.day < (SELECT closed_until FROM installation)), 0)
"""

_ACCOUNTS: Final = """
SELECT a.id, a.available, a.held, a.debt, a.open_holds, a.next_expiry,
       COALESCE(l.available, 0), COALESCE(l.held, 0), COALESCE(h.amount, 0), COALESCE(h.holds, 0), l.first_expiry,
       COALESCE(d.total, 0)
FROM accounts a
LEFT JOIN (SELECT account_id, SUM(available) AS available, SUM(held) AS held,
                  MIN(CASE WHEN available > 0 THEN expires_at END) AS first_expiry
           FROM lots GROUP BY account_id) l ON l.account_id = a.id
LEFT JOIN (SELECT account_id, SUM(amount) AS amount, COUNT(*) AS holds FROM holds GROUP BY account_id) h ON h.account_id = a.id
LEFT JOIN (SELECT account_id, SUM(amount) AS total FROM entries WHERE lot_id IS NULL GROUP BY account_id) d
       ON d.account_id = a.id
ORDER BY a.id
"""

_KEYS: Final = """
WITH RECURSIVE rotated(id, last, next) AS (
    SELECT id, id, replaced_by FROM keys WHERE id IN (SELECT key_id FROM holds)
    UNION ALL
    SELECT r.id, k.id, k.replaced_by FROM rotated r JOIN keys k ON k.id = r.next
)
SELECT k.id, k.period_held, COALESCE(h.amount, 0)
FROM keys k
LEFT JOIN (SELECT r.last AS key_id, o.period_start, SUM(o.amount) AS amount
           FROM holds o JOIN rotated r ON r.id = o.key_id AND r.next IS NULL GROUP BY r.last, o.period_start) h
       ON h.key_id = k.id AND h.period_start = k.period_start
ORDER BY k.id
"""
"""A key's holds count in the row of the newest key that it was rotated to."""

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

_JOBS: Final = """
SELECT h.request_id, 1 FROM holds h
WHERE h.owner = 'job' AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = h.request_id AND j.state IN ('queued', 'in_progress'))
UNION ALL
SELECT j.id, 0 FROM jobs j
WHERE j.next_poll_at IS NOT NULL AND j.state IN ('queued', 'in_progress')
AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.request_id = j.id AND h.owner = 'job')
AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.id = j.id)
UNION ALL
SELECT j.id, 0 FROM jobs j WHERE j.next_poll_at IS NULL AND j.state IN ('queued', 'in_progress')
"""
"""An open job whose hold has ended already is told so by the next look at it; one that nobody will look at is not."""

_REQUESTS: Final = """
SELECT r.id, r."end", r.held, r.model_fee, r.service_fee, r.charged,
       CASE WHEN r.lot_id IS NULL THEN 0 ELSE r.charged END
       + COALESCE((SELECT SUM(p.amount) FROM request_lots p WHERE p.request_id = r.id), 0)
FROM requests r WHERE r.charged > 0 AND (r.lot_id IS NULL OR r."end" = 'released')
UNION ALL
SELECT p.request_id, COALESCE(MAX(r."end"), 'released'), COALESCE(MAX(r.held), 0), COALESCE(MAX(r.model_fee), 0),
       COALESCE(MAX(r.service_fee), 0), COALESCE(MAX(r.charged), 0), COALESCE(MAX(r.charged), 0) + SUM(p.amount)
FROM request_lots p LEFT JOIN requests r ON r.id = p.request_id
WHERE r.id IS NULL OR r.lot_id IS NOT NULL OR r.charged = 0 GROUP BY p.request_id
"""
"""Charges that several lots paid or that should not be, and parts of charges that belong to none."""

_ROWS: Final[tuple[Statement, ...]] = (
    (_ACCOUNTS, AccountSums),
    (_KEYS, KeySums),
    (_HOLDS, lambda request_id, amount, parts, ended: HoldSums(request_id, amount, parts, bool(ended))),
    (_JOBS, lambda request_id, has_hold: JobSums(request_id, bool(has_hold))),
)
_REST: Final[tuple[Statement, ...]] = (
    *_ROWS,
    (_REQUESTS, lambda request_id, end, *amounts: RequestSums(request_id, End(end), *amounts)),
    *audit_books.DAYS,
    *audit_books.PAYMENTS,
)


def verify(database: Database) -> list[Discrepancy]:
    """Add everything up again and return what does not agree: lots, accounts, keys, holds, requests, days, payments."""
    with database.read():
        return invariants.check(sums(database))


def verify_fast(database: Database) -> list[Discrepancy]:
    """Add up all but what requests were charged: quick enough for every start, however many there are."""
    with database.read():
        lots = (_LOTS.format(charges="NULL"), LotSums)
        return invariants.check(_sums(database, (lots, *_ROWS, *audit_books.PAYMENTS)))


def sums(database: Database) -> Iterator[Sums]:
    """Return each row's amounts beside what they should sum up, inside the caller's read."""
    charges: dict[audit_requests.Lot, int] = {}
    yield from audit_requests.differences(database, charges)

    def lot(lot_id: int, account_id: int, *amounts: int) -> LotSums:
        closed = LotSums(lot_id, account_id, *amounts)
        return replace(closed, charges=amounts[-1] + charges.get((lot_id, account_id), 0))

    yield from _sums(database, ((_LOTS.format(charges=_CLOSED_CHARGES), lot), *_REST))


def _sums(database: Database, statements: tuple[Statement, ...]) -> Iterator[Sums]:
    for sql, make in statements:
        for row in stream(database, sql.replace(REF_HEAD, _HEAD_OF_REF[database.kind])):
            yield make(*row)
