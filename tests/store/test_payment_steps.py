"""Payments and the ledger as tables of steps: ``payments/*.txt``, told as ``test_ledger_steps.py`` does, with these as well:

    topup NAME REF MONEY [at RATE] [until TIME]   cents, or fen at so many CNY for a USD; its lot has the same name
    quote REF [MINOR]                             -> 1500 for 15_000_000_000 | refused nothing_left
    refund REF ID [MINOR]                         the same, and done: asked for here
    refund_failed ID                              -> what came back
    clawback REF ID MINOR                         a refund made at Stripe -> own N others N debt N
    clawback_failed ID                            -> what came back
    dispute REF ID MINOR                          -> frozen N
    won ID
    lost ID                                       -> own N others N debt N
    undone ID                                     a lost dispute -> what came back
    purse NAME                                    -> available N frozen N debt N
    places REF                                    -> where the lot's credit is, empty places left out
    until REF                                     -> TIME

Numbers such as #24 are scenarios of payments: what an attacker, an accident or a person may do, and what the ledger then says.
"""

from pathlib import Path

import pytest

from tests.fakes.bank import NOW, Bank
from tests.fakes.payments import YEAR, Payments
from tests.store.test_ledger_steps import UNITS_MS, Teller, stories, tell
from tokenhub.billing.credits import rate_micro
from tokenhub.billing.purse import Taken
from tokenhub.billing.refunds import Quote, Refusal
from tokenhub.store import ledger

FOLDER = Path(__file__).parent / "payments"
PLACES = ("available", "held", "frozen", "spent", "expired", "returned", "repaid")


class PaymentTeller(Teller):
    """Does the steps of payments too."""

    def __init__(self, bank: Bank, number: int) -> None:
        super().__init__(bank, number)
        self.payments = Payments(bank)

    def topup(self, name: str, ref: str, minor: str, *words: str) -> None:
        options = dict(zip(words[::2], words[1::2], strict=True))
        rate = rate_micro("cny" if "at" in options else "usd", float(options.get("at", "0")))
        expires_at = self.time(options["until"]) if "until" in options else NOW + YEAR
        account = self.accounts[name]
        self.payments.topup(account, self.own(ref), int(minor), rate=rate, expires_at=expires_at, now_ms=self.now_ms)

    def quote(self, ref: str, *minor: str) -> str:
        return quoted(self.payments.quote(self.own(ref), *map(int, minor), now_ms=self.now_ms))

    def refund(self, ref: str, refund: str, *minor: str) -> str:
        return quoted(self.payments.refund(self.own(ref), self.own(refund), *map(int, minor), now_ms=self.now_ms))

    def refund_failed(self, refund: str) -> str:
        return str(self.payments.refund_failed(self.own(refund), self.now_ms))

    def clawback(self, ref: str, refund: str, minor: str) -> str:
        return taken(self.payments.refund_at_stripe(self.own(ref), self.own(refund), int(minor), self.now_ms))

    def clawback_failed(self, refund: str) -> str:
        return str(self.payments.refund_at_stripe_failed(self.own(refund), self.now_ms))

    def dispute(self, ref: str, dispute: str, minor: str) -> str:
        return f"frozen {self.payments.dispute(self.own(ref), self.own(dispute), int(minor), self.now_ms)}"

    def won(self, dispute: str) -> None:
        self.payments.dispute_won(self.own(dispute), self.now_ms)

    def lost(self, dispute: str) -> str:
        return taken(self.payments.dispute_lost(self.own(dispute), self.now_ms))

    def undone(self, dispute: str) -> str:
        return str(self.payments.dispute_reversed(self.own(dispute), self.now_ms))

    def purse(self, name: str) -> str:
        found = ledger.balances(self.bank.database, self.accounts[name])
        return f"available {found.available_nano} frozen {found.frozen_nano} debt {found.debt_nano}"

    def places(self, ref: str) -> str:
        row = self.bank.database.row(f"SELECT {', '.join(PLACES)} FROM lots WHERE ref = ?", (self.own(ref),))
        assert row is not None
        return " ".join(f"{place} {amount}" for place, amount in zip(PLACES, row, strict=True) if amount)

    def until(self, ref: str) -> str:
        row = self.bank.database.row("SELECT expires_at FROM lots WHERE ref = ?", (self.own(ref),))
        assert row is not None
        return f"{(row[0] - NOW) / UNITS_MS['d']:+g}d"


def quoted(found: Quote | Refusal) -> str:
    return f"refused {found}" if isinstance(found, Refusal) else f"{found.amount_minor} for {found.credit_nano}"


def taken(found: Taken) -> str:
    return f"own {found.own_nano} others {found.others_nano} debt {found.debt_nano}"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.txt")), ids=lambda file: file.stem)
def test_ledger_follows_its_tables_of_payments(file, database, home):
    bank = Bank(database, home)
    numbered = enumerate(stories(file))
    told_stories = [tell(title, steps, PaymentTeller(bank, number)) for number, (title, steps) in numbered]
    assert len(told_stories) > 5
