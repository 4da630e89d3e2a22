"""What the audit reads of closed days and of payments: statements, and what is made of their rows.

Whether the lines of a closed day are what its requests say is in ``audit_requests.py``.
"""

from collections.abc import Callable
from typing import Any, Final

from tokenhub.billing.credits import bought_nano
from tokenhub.billing.day_invariants import DaySums
from tokenhub.billing.invariants import Sums
from tokenhub.billing.payment_invariants import DisputeSums, PostedLot, RefundSums, StraySums, TopupSums

Statement = tuple[str, Callable[..., Sums]]
"""A query and what makes its rows."""

REF_HEAD: Final = "{head of ref}"
"""Stands in a query for the part of ``entries.ref`` that names the event."""

_IS_CLOSED: Final = "c.day < (SELECT closed_until FROM installation)"
"""A day that is just being closed has lines already, which count for nothing (``days.py``)."""

_CLOSED_DAYS: Final = f"""
SELECT c.day, CASE WHEN c.day < i.closed_until THEN 1 ELSE 0 END, c.requests, c.charged, COALESCE(l.requests, 0), COALESCE(l.amount, 0)
FROM closed_days c
CROSS JOIN installation i
LEFT JOIN (SELECT day, SUM(requests) AS requests, SUM(amount) AS amount FROM daily_lines GROUP BY day) l ON l.day = c.day
WHERE {_IS_CLOSED} OR c.requests > 0 OR c.purged_at IS NOT NULL
ORDER BY c.day
"""

_TOPUPS: Final = """
SELECT t.id, t.state, t.account_id, t.payment_intent, t.rate, t.paid_amount, t.paid_total,
       COALESCE(r.amount, 0), COALESCE(r.credit, 0), COALESCE(d.taken, 0), COALESCE(d.frozen, 0),
       l.kind, l.ref, l.account_id, l.granted, l.frozen
FROM topups t
LEFT JOIN lots l ON l.id = t.lot_id
LEFT JOIN (SELECT topup_id, SUM(amount) AS amount, SUM(credit) AS credit FROM refunds
           WHERE state IN ('requested', 'pending', 'succeeded') GROUP BY topup_id) r ON r.topup_id = t.id
LEFT JOIN (SELECT topup_id, SUM(CASE WHEN state = 'lost' THEN taken ELSE 0 END) AS taken,
                  SUM(CASE WHEN state = 'frozen' THEN frozen ELSE 0 END) AS frozen
           FROM disputes GROUP BY topup_id) d ON d.topup_id = t.id
ORDER BY t.id
"""

_REFUND_ENTRIES: Final = f"""
SELECT {REF_HEAD} AS event, SUM(amount) AS total FROM entries
WHERE kind IN ('refund', 'refund_return', 'clawback', 'clawback_return') GROUP BY {REF_HEAD}
"""

_REFUNDS: Final = f"""
SELECT r.id, r.state, r.credit, COALESCE(e.total, 0)
FROM refunds r
LEFT JOIN ({_REFUND_ENTRIES}) e ON e.event = CASE WHEN r.origin = 'stripe' THEN r.stripe_id ELSE r.id END
ORDER BY r.id
"""

_DISPUTE_ENTRIES: Final = f"""
SELECT {REF_HEAD} AS event, SUM(amount) AS total FROM entries
WHERE kind IN ('dispute', 'dispute_return') GROUP BY {REF_HEAD}
"""

_DISPUTES: Final = f"""
SELECT d.id, d.taken, COALESCE(e.total, 0)
FROM disputes d
LEFT JOIN ({_DISPUTE_ENTRIES}) e ON e.event = d.id
ORDER BY d.id
"""

_STRAYS: Final = f"""
SELECT 'lot ' || l.id, l.granted FROM lots l
WHERE l.kind = 'topup' AND NOT EXISTS (SELECT 1 FROM topups t WHERE t.lot_id = l.id)
UNION ALL
SELECT 'refund ' || e.event, e.total FROM ({_REFUND_ENTRIES}) e
WHERE NOT EXISTS (SELECT 1 FROM refunds r WHERE (r.origin = 'tokenhub' AND r.id = e.event)
                                             OR (r.origin = 'stripe' AND r.stripe_id = e.event))
UNION ALL
SELECT 'dispute ' || e.event, e.total FROM ({_DISPUTE_ENTRIES}) e
WHERE NOT EXISTS (SELECT 1 FROM disputes d WHERE d.id = e.event)
"""


def _topup(
    topup_id: str,
    state: str,
    account_id: int,
    payment_intent: str | None,
    rate: int,
    paid_amount: int | None,
    paid_total: int | None,
    refunded: int,
    refunded_credit: int,
    disputed_credit: int,
    frozen: int,
    *lot: Any,
) -> TopupSums:
    return TopupSums(
        topup_id,
        state,
        account_id,
        payment_intent,
        None if paid_amount is None else bought_nano(paid_amount, rate),
        paid_total,
        None if lot[0] is None else PostedLot(*lot),
        refunded,
        refunded_credit,
        disputed_credit,
        frozen,
    )


DAYS: Final[tuple[Statement, ...]] = ((_CLOSED_DAYS, lambda day, closed, *sums: DaySums(day, bool(closed), *sums)),)
PAYMENTS: Final[tuple[Statement, ...]] = (
    (_TOPUPS, _topup),
    (_REFUNDS, RefundSums),
    (_DISPUTES, DisputeSums),
    (_STRAYS, StraySums),
)
