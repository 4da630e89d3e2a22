"""Payments as the ledger sees them: its verbs, with the rows of top-ups, refunds and disputes that belong to them.

Money is in cents or fen, credit in nano-USD; what the one is of the other is asked of
``billing/refunds.py``. What Stripe says is not here: each method is what is done once it has
been said.
"""

from typing import Any

from tests.fakes.bank import NOW, Bank
from tokenhub.billing import refunds as rules
from tokenhub.billing.credits import RATE_UNIT, bought_nano
from tokenhub.billing.journal import EntryKind
from tokenhub.billing.lots import Lot
from tokenhub.billing.purse import Taken
from tokenhub.billing.refunds import Purchase, Quote, Refusal
from tokenhub.store import disputes, ledger, refunds

YEAR = 365 * 86_400_000


class Payments:
    def __init__(self, bank: Bank) -> None:
        self.database = bank.database

    def topup(
        self,
        account_id: int,
        ref: str,
        minor: int,
        *,
        rate: int = RATE_UNIT,
        expires_at: int = NOW + YEAR,
        now_ms: int = NOW,
    ) -> Lot:
        """Credit a paid top-up named by its payment; once, however often it is told."""
        credit = bought_nano(minor, rate)
        with self.database.write():
            lot = ledger.post_topup(self.database, account_id, credit, ref, expires_at, now_ms)
            if self._value("SELECT lot_id FROM topups WHERE id = ?", ref) is None:
                self._insert(
                    "topups",
                    id=ref,
                    account_id=account_id,
                    kind="checkout",
                    state="paid",
                    currency="usd" if rate == RATE_UNIT else "cny",
                    amount=minor,
                    rate=rate,
                    credit=credit,
                    livemode=0,
                    params="{}",
                    payment_intent=ref,
                    paid_amount=minor,
                    paid_total=minor,
                    paid_at=now_ms,
                    lot_id=lot.id,
                    created_at=now_ms,
                    updated_at=now_ms,
                )
        return lot

    def lot(self, topup: str) -> Lot:
        """Return the lot of a top-up."""
        return ledger.lot(self.database, self._value("SELECT lot_id FROM topups WHERE id = ?", topup))

    def quote(self, topup: str, minor: int | None = None, now_ms: int = NOW) -> Quote | Refusal:
        """Return what a refund of so much (None: all that is unused) would be."""
        return rules.quote(self._purchase(topup), minor, now_ms)

    def refund(self, topup: str, refund: str, minor: int | None = None, now_ms: int = NOW) -> Quote | Refusal:
        """Take the credit of a refund that the ledger was asked for, if it may be."""
        with self.database.write():
            ledger.expire_due(self.database, now_ms)
            quote = self.quote(topup, minor, now_ms)
            if isinstance(quote, Quote):
                ledger.take_refund(self.database, self.lot(topup).id, quote.credit_nano, refund, now_ms)
                self._refund(refund, topup, "tokenhub", quote.amount_minor, quote.credit_nano, now_ms)
        return quote

    def refund_failed(self, refund: str, now_ms: int = NOW) -> int:
        with self.database.write():
            self._set("refunds", refund, state="failed")
            return ledger.return_refund(self.database, refund, now_ms)

    def refund_at_stripe(self, topup: str, refund: str, minor: int, now_ms: int = NOW) -> Taken:
        """Take the credit of a refund that was made without asking."""
        with self.database.write():
            credit = self._contested(topup, minor)
            taken = self._claw(topup, credit, refund, now_ms, EntryKind.CLAWBACK)
            self._refund(refund, topup, "stripe", minor, credit, now_ms)
        return taken

    def refund_at_stripe_failed(self, refund: str, now_ms: int = NOW) -> int:
        with self.database.write():
            self._set("refunds", refund, state="failed")
            return ledger.return_claw(self.database, EntryKind.CLAWBACK, refund, now_ms)

    def dispute(self, topup: str, dispute: str, minor: int, now_ms: int = NOW) -> int:
        """Freeze what a dispute contests, as far as its lot has it; return how much."""
        with self.database.write():
            credit = self._contested(topup, minor)
            frozen = ledger.freeze(self.database, self.lot(topup).id, credit, now_ms)
            self._insert(
                "disputes",
                id=dispute,
                topup_id=topup,
                state="frozen",
                status="needs_response",
                amount=minor,
                frozen=frozen,
                created_at=now_ms,
                updated_at=now_ms,
            )
        return frozen

    def dispute_won(self, dispute: str, now_ms: int = NOW) -> None:
        with self.database.write():
            topup, frozen = self._dispute(dispute)
            ledger.unfreeze(self.database, self.lot(topup).id, frozen, now_ms)
            self._set("disputes", dispute, state="won", frozen=0)

    def dispute_lost(self, dispute: str, now_ms: int = NOW) -> Taken:
        """Take what a lost dispute costs: what it has frozen first; what else is frozen for it is free again."""
        with self.database.write():
            topup, frozen = self._dispute(dispute)
            credit = self._contested(topup, self._value("SELECT amount FROM disputes WHERE id = ?", dispute))
            taken = self._claw(topup, credit, dispute, now_ms, EntryKind.DISPUTE, frozen=frozen)
            if frozen > credit:
                ledger.unfreeze(self.database, self.lot(topup).id, frozen - credit, now_ms)
            self._set("disputes", dispute, state="lost", frozen=0, taken=credit)
        return taken

    def dispute_reversed(self, dispute: str, now_ms: int = NOW) -> int:
        """Undo a lost dispute."""
        with self.database.write():
            self._set("disputes", dispute, state="won", taken=0)
            return ledger.return_claw(self.database, EntryKind.DISPUTE, dispute, now_ms)

    def _purchase(self, topup: str) -> Purchase:
        row = self.database.row("SELECT account_id, paid_at, paid_total FROM topups WHERE id = ?", (topup,))
        assert row is not None
        account_id, paid_at, paid_total = row
        lot, returned = self.lot(topup), refunds.returned(self.database, topup)
        found = disputes.of_topup(self.database, topup)
        return Purchase(
            paid_at_ms=paid_at,
            paid_total=paid_total,
            granted_nano=lot.granted_nano,
            free_nano=lot.available_nano,
            balance_nano=ledger.balances(self.database, account_id).available_nano,
            returned_minor=returned.amount_minor,
            reversed_nano=returned.credit_nano + sum(one.taken_nano for one in found),
            disputed=any(one.state == "frozen" for one in found),
        )

    def _contested(self, topup: str, minor: int) -> int:
        """Return the credit of so much money that is not taken back already."""
        one = self._purchase(topup)
        return rules.claw_nano(minor, one.paid_total, one.granted_nano, one.reversed_nano)

    def _claw(self, topup: str, credit: int, ref: str, now_ms: int, kind: EntryKind, *, frozen: int = 0) -> Taken:
        return ledger.claw(self.database, self.lot(topup).id, credit, ref, now_ms, kind, frozen_nano=frozen)

    def _dispute(self, dispute: str) -> tuple[str, int]:
        row = self.database.row("SELECT topup_id, frozen FROM disputes WHERE id = ?", (dispute,))
        assert row is not None
        return row[0], row[1]

    def _refund(self, refund: str, topup: str, origin: str, minor: int, credit: int, now_ms: int) -> None:
        self._insert(
            "refunds",
            id=f"{origin}-{refund}" if origin == "stripe" else refund,
            topup_id=topup,
            state="succeeded",
            origin=origin,
            amount=minor,
            credit=credit,
            stripe_id=refund if origin == "stripe" else None,
            created_at=now_ms,
            updated_at=now_ms,
        )

    def _insert(self, table: str, **columns: Any) -> None:
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self.database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))

    def _set(self, table: str, row_id: str, **columns: Any) -> None:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        where = "? IN (id, stripe_id)" if table == "refunds" else "id = ?"
        self.database.execute(f"UPDATE {table} SET {assignments} WHERE {where}", (*columns.values(), row_id))

    def _value(self, sql: str, name: str) -> Any:
        row = self.database.row(sql, (name,))
        return None if row is None else row[0]
