"""The audit's one pass over all requests: what open days charged, and whether closed days' lines say what happened.

Requests are read account by account in the order of an index, beside the lines of the account,
and added up a day at a time. So nothing is sorted, and memory holds one account's day and a sum
for each lot, however many requests there are. Days whose requests are being deleted, and days
that are just being closed, have lines that nothing is compared with.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from tokenhub.billing.day_invariants import Counts, LineSums, LotDaySums
from tokenhub.billing.periods import DAY_MS
from tokenhub.store.database import Database
from tokenhub.store.streaming import stream

Lot = tuple[int, int]
"""A lot's id and its account's."""
Group = tuple[str, str, str]
"""Key, model, provider."""
Rows = Iterator[tuple[Any, ...]]

_ACCOUNTS: Final = """
WITH RECURSIVE
r(id) AS (SELECT MIN(account_id) FROM requests UNION ALL
          SELECT (SELECT MIN(account_id) FROM requests WHERE account_id > r.id) FROM r WHERE r.id IS NOT NULL),
l(id) AS (SELECT MIN(account_id) FROM daily_lines UNION ALL
          SELECT (SELECT MIN(account_id) FROM daily_lines WHERE account_id > l.id) FROM l WHERE l.id IS NOT NULL)
SELECT id FROM r WHERE id IS NOT NULL UNION SELECT id FROM l WHERE id IS NOT NULL ORDER BY id
"""

_REQUESTS: Final = """
SELECT r.ended_at - r.ended_at % 86400000, r.id, r.key_id, r.model, COALESCE(r.provider, ''),
       r.model_fee, r.service_fee, r.shortfall,
       COALESCE(r.lot_id, p.lot_id), CASE WHEN r.lot_id IS NULL THEN p.amount ELSE r.charged END
FROM requests r LEFT JOIN request_lots p ON p.request_id = r.id AND r.lot_id IS NULL
WHERE r.account_id = ? ORDER BY r.ended_at, r.id
"""

_LINES: Final = """
SELECT day, kind, key_id, model, provider, amount, requests, shortfall, lot_id
FROM daily_lines WHERE account_id = ? ORDER BY day
"""


@dataclass(slots=True)
class _Sums:
    """What either side says of one account's day."""

    groups: dict[Group, list[int]] = field(default_factory=dict)
    """Number, model fees, service fees, shortfalls."""
    lots: dict[int, int] = field(default_factory=dict)

    def group(self, key_id: str, model: str, provider: str) -> list[int]:
        return self.groups.setdefault((key_id, model, provider), [0, 0, 0, 0])


def differences(database: Database, charges: dict[Lot, int]) -> Iterator[LineSums | LotDaySums]:
    """Return where lines and requests of closed days differ; add to ``charges`` what open days took from each lot."""
    row = database.row("SELECT closed_until FROM installation")
    closed_until = row[0] if row else 0
    skipped = {row[0] for row in database.rows("SELECT day FROM closed_days WHERE purged_at IS NOT NULL")}
    for (account_id,) in database.rows(_ACCOUNTS):
        for day, lines, requests in _days(database, account_id):
            if day + DAY_MS > closed_until:
                for lot_id, amount in requests.lots.items():
                    lot = (lot_id, account_id)
                    charges[lot] = charges.get(lot, 0) + amount
            elif day not in skipped:
                yield from _compared(day, account_id, lines, requests)


def _days(database: Database, account_id: int) -> Iterator[tuple[int, _Sums, _Sums]]:
    """Return an account's days, each with what its lines say and what its requests say."""
    first = itemgetter(0)
    lines = ((day, 0, rows) for day, rows in groupby(stream(database, _LINES, (account_id,)), first))
    requests = ((day, 1, rows) for day, rows in groupby(stream(database, _REQUESTS, (account_id,)), first))
    for day, sides in groupby(merge(lines, requests, key=first), first):
        said, summed = _Sums(), _Sums()
        for _, side, rows in sides:
            _add_lines(said, rows) if side == 0 else _add_requests(summed, rows)
        yield day, said, summed


def _add_lines(sums: _Sums, rows: Rows) -> None:
    for _, kind, key_id, model, provider, amount, requests, shortfall, lot_id in rows:
        group = sums.group(key_id, model, provider)
        group[0] += requests
        group[1 if kind == "model_fee" else 2] += amount
        group[3] += shortfall
        if amount:
            sums.lots[lot_id] = sums.lots.get(lot_id, 0) + amount


def _add_requests(sums: _Sums, rows: Rows) -> None:
    """Add up requests; one that several lots paid has a row for each of them, which follow each other.

    This is the loop that a million requests go through.
    """
    last = None
    groups, lots = sums.groups, sums.lots
    for _, request_id, key_id, model, provider, model_fee, service_fee, shortfall, lot_id, amount in rows:
        if request_id != last:
            last = request_id
            group = groups.get((key_id, model, provider)) or sums.group(key_id, model, provider)
            group[0] += 1
            group[1] += model_fee
            group[2] += service_fee
            group[3] += shortfall
        if amount:
            lots[lot_id] = lots.get(lot_id, 0) + amount


def _compared(day: int, account_id: int, lines: _Sums, requests: _Sums) -> Iterator[LineSums | LotDaySums]:
    for group in _unequal(lines.groups, requests.groups):
        said, summed = lines.groups.get(group, [0] * 4), requests.groups.get(group, [0] * 4)
        key_id, model, provider = group
        yield LineSums(day, account_id, key_id, model, provider, Counts(*said), Counts(*summed))
    for lot_id in _unequal(lines.lots, requests.lots):
        yield LotDaySums(day, lot_id, account_id, lines.lots.get(lot_id, 0), requests.lots.get(lot_id, 0))


def _unequal(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> list[Any]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
