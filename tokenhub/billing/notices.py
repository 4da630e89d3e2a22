"""What people are told without asking: kinds of notice, their words, when to try again.

A notice is a kind, a *ref* that names the occasion (told once, however often it is noticed) and a
body of facts. It goes out as a mail and as signed JSON; both say the same.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tokenhub.billing.periods import DAY_MS
from tokenhub.billing.recharges import CARD_GONE, RechargeState


class NoticeKind(StrEnum):
    """What is told. ``body`` of each: the facts its words name."""

    LOW_BALANCE = "low_balance"
    """balance, threshold: exact USD."""
    CARD_DECLINED = "card_declined"
    """topup, amount, currency, reason; ``card`` where it is known."""
    RECHARGE_SUSPENDED = "recharge_suspended"
    """reason; ``topup`` and ``card`` where they are known."""
    DISPUTE_OPENED = "dispute_opened"
    """dispute, topup, amount, currency, status; ``frozen`` in exact USD; ``recharge`` where the account has one that stops."""
    REFUND_FAILED = "refund_failed"
    """refund, topup, amount, currency, reason."""
    TOPUP_REVIEW = "topup_review"
    """topup, reason."""
    CREDENTIAL = "credential"
    """credential, provider, region, label, reason."""
    OUTAGE = "outage"
    """down, recovered: texts, a line each."""
    RECOVERED = "recovered"
    """recovered, still: texts, a line each."""
    TEST = "test"


FOR_OPERATORS_ALONE: Final = frozenset(
    {NoticeKind.TOPUP_REVIEW, NoticeKind.CREDENTIAL, NoticeKind.OUTAGE, NoticeKind.RECOVERED, NoticeKind.TEST}
)
"""Not told to the account's own address: what the operator has to sort out."""


def event_of(kind: NoticeKind) -> str:
    """Return a kind as it is spelled where one subscribes to it: ``low-balance``."""
    return kind.value.replace("_", "-")


EVENTS: Final = tuple(event_of(kind) for kind in NoticeKind if kind is not NoticeKind.TEST)
"""What one can subscribe to."""

FIRST_PAUSE_MS: Final = 30_000
LONGEST_PAUSE_MS: Final = 3_600_000
GIVEN_UP_AFTER_MS: Final = 3 * DAY_MS
"""A notice that nobody took in three days is given up: it is no news any more."""


@dataclass(frozen=True, slots=True)
class Words:
    """A notice as a person reads it."""

    subject: str
    text: str


def words(kind: str, account: str, body: Mapping[str, Any]) -> Words:
    """Return a notice's subject and text; a kind that this version does not know is told by its facts."""
    compose = _WORDS.get(kind, _unknown)
    subject, text = compose(_Facts(body), account)
    subject = subject if account == "" else f"{subject} ({account})"
    return Words(" ".join(subject.split()), text)


def pause_ms(tries: int) -> int:
    """Return how long to wait after so many tries (at least 1) that failed: doubling, up to an hour."""
    return min(FIRST_PAUSE_MS << min(tries - 1, 20), LONGEST_PAUSE_MS)


class _Facts:
    """A body whose missing facts read as a question mark: a notice is told even when one of them is not known."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body

    def __getitem__(self, name: str) -> str:
        return str(self.body.get(name, "?"))

    def line(self, name: str, label: str) -> str:
        return f"{label}: {self.body[name]}\n" if self.body.get(name) else ""


def _low_balance(facts: _Facts, account: str) -> tuple[str, str]:
    return "Low balance", (
        f"The balance of the account {account} is {facts['balance']} USD, which is below {facts['threshold']} USD.\n"
        "When it is used up, requests are refused with 402 insufficient_credits.\n\n"
        f"To top up: tokenhub topup AMOUNT --account {shlex.quote(account)}\n"
    )


def _card_declined(facts: _Facts, account: str) -> tuple[str, str]:
    return "Card declined", (
        f"An automatic recharge of the account {account} did not go through: {facts['reason']}.\n"
        + facts.line("card", "Card")
        + f"Amount: {facts['amount']} {facts['currency'].upper()}\nTop-up: {facts['topup']}\n\n"
        "It is tried again in an hour at the earliest, and not more than three times.\n"
    )


def _recharge_suspended(facts: _Facts, account: str) -> tuple[str, str]:
    has_card = bool(facts.body.get("card")) and facts["reason"] != CARD_GONE
    return "Automatic recharge suspended", (
        f"The account {account} is no longer topped up by itself: {facts['reason']}.\n"
        + facts.line("card", "Card")
        + facts.line("topup", "Last top-up")
        + "\nIt goes on after a top-up by hand, or with another card: "
        f"tokenhub topup AMOUNT --account {shlex.quote(account)} --save-card\n"
        + (f"With the same card, at once: {_resume(account)}\n" if has_card else "")
    )


def _dispute_opened(facts: _Facts, account: str) -> tuple[str, str]:
    return "Payment disputed", (
        f"A payment of the account {account} is contested: {facts['amount']} {facts['currency'].upper()}, "
        f"{facts['status']}.\n"
        + facts.line("frozen", "Credit kept back until it is decided, in USD")
        + f"Dispute: {facts['dispute']}\nTop-up: {facts['topup']}\n\n"
        "Answer it in the Stripe Dashboard, under Payments, Disputes, before its date.\n"
        + (
            f"The account's automatic recharge is suspended, whatever comes of it, until: {_resume(account)}\n"
            if facts.body.get("recharge") == RechargeState.SUSPENDED
            else ""
        )
    )


def _resume(account: str) -> str:
    return f"tokenhub accounts set {shlex.quote(account)} --resume-recharge"


def _refund_failed(facts: _Facts, account: str) -> tuple[str, str]:
    return "Refund failed", (
        f"A refund of {facts['amount']} {facts['currency'].upper()} to the account {account} did not arrive: "
        f"{facts['reason']}.\nRefund: {facts['refund']}\nTop-up: {facts['topup']}\n\n"
        "The credit is back in the account.\n"
    )


def _topup_review(facts: _Facts, account: str) -> tuple[str, str]:
    return "A top-up needs a look", (
        f"A top-up of the account {account} was not booked as it was asked for: {facts['reason']}.\n"
        f"Top-up: {facts['topup']}\n\nSee: tokenhub topups show {facts['topup']}\n"
    )


def _credential(facts: _Facts, account: str) -> tuple[str, str]:  # noqa: ARG001
    return f"{facts['provider']} refuses a credential", (
        f"{facts['provider']} refuses credential {facts['credential']} in {facts['region']}: {facts['reason']}.\n"
        + facts.line("label", "Label")
        + "\nIt is out of use until it is mended:\n"
        f"  tokenhub credentials rotate {facts['credential']}   (another key)\n"
        f"  tokenhub credentials test {facts['credential']} --chat   (it works again: back into use)\n"
        f"  tokenhub credentials enable {facts['credential']}   (without a test)\n"
    )


def _outage(facts: _Facts, account: str) -> tuple[str, str]:  # noqa: ARG001
    return "Providers are failing", (
        "Requests go elsewhere where their boundaries allow it. Failing:\n"
        f"{facts['down']}\n" + facts.line("recovered", "Back") + "\nNow: tokenhub status\n"
    )


def _recovered(facts: _Facts, account: str) -> tuple[str, str]:  # noqa: ARG001
    return "Providers are back", (
        f"These answer again:\n{facts['recovered']}\n"
        + facts.line("still", "Still failing")
        + "\nNow: tokenhub status\n"
    )


def _test(facts: _Facts, account: str) -> tuple[str, str]:  # noqa: ARG001
    return "Test", "This is a test, sent by: tokenhub notify test\n"


def _unknown(facts: _Facts, account: str) -> tuple[str, str]:
    lines = "".join(f"{name}: {value}\n" for name, value in facts.body.items())
    return "Notice", f"Account: {account}\n{lines}"


_WORDS: Final[Mapping[str, Callable[[_Facts, str], tuple[str, str]]]] = {
    NoticeKind.LOW_BALANCE: _low_balance,
    NoticeKind.CARD_DECLINED: _card_declined,
    NoticeKind.RECHARGE_SUSPENDED: _recharge_suspended,
    NoticeKind.DISPUTE_OPENED: _dispute_opened,
    NoticeKind.REFUND_FAILED: _refund_failed,
    NoticeKind.TOPUP_REVIEW: _topup_review,
    NoticeKind.CREDENTIAL: _credential,
    NoticeKind.OUTAGE: _outage,
    NoticeKind.RECOVERED: _recovered,
    NoticeKind.TEST: _test,
}
