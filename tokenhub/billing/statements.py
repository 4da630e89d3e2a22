"""Statements: an account's balance at the start and the end of a month, and all that moved it in between.

Beneath, everything is nano-USD and adds up exactly: opening + lines = closing. What is shown is
cents, and adds up as well: both balances are rounded down, as everywhere, and what lies between
them is given to the lines by largest remainder. So a line may be shown up to a cent higher or
lower than rounded down, one of whole cents never is, and one month's closing balance is the
next one's opening balance.

A balance is the credit that has not been spent, with what open requests hold and what is frozen
by disputes, less what the account owes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from tokenhub.billing.journal import EntryKind

NANO_PER_CENT: Final = 10_000_000


class Section(StrEnum):
    """Where on the statement a line stands, in this order."""

    TOPUPS = "top-ups"
    GRANTS = "grants"
    USAGE = "usage"
    EXPIRY = "expiry"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    OTHER = "other"


SECTION_OF: Final = {
    EntryKind.TOPUP: Section.TOPUPS,
    EntryKind.GRANT: Section.GRANTS,
    EntryKind.EXPIRY: Section.EXPIRY,
    EntryKind.REFUND: Section.REFUNDS,
    EntryKind.REFUND_RETURN: Section.REFUNDS,
    EntryKind.CLAWBACK: Section.REFUNDS,
    EntryKind.CLAWBACK_RETURN: Section.REFUNDS,
    EntryKind.DISPUTE: Section.DISPUTES,
    EntryKind.DISPUTE_RETURN: Section.DISPUTES,
}
"""Repayments move credit into debt and change no balance; kinds that are not named here are other."""


@dataclass(frozen=True, slots=True)
class Line:
    """Something that moved the balance; in usage, all requests of one model.

    ``amount_nano`` is signed; ``cents`` is how it is shown. Usage has its two fees beside it,
    both below 0, which add up to it in nano-USD and in cents.
    """

    section: Section
    label: str
    amount_nano: int
    at_ms: int | None = None
    note: str = ""
    requests: int | None = None
    model_fee_nano: int | None = None
    service_fee_nano: int | None = None
    cents: int = 0
    model_fee_cents: int | None = None
    service_fee_cents: int | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """An account's month. ``until_ms`` is before the end of the month while that is not over."""

    account: str
    month: str
    since_ms: int
    until_ms: int
    is_complete: bool
    opening_nano: int
    closing_nano: int
    owed_nano: int
    """The part of the closing balance that is debt."""
    lines: Sequence[Line]

    @property
    def opening_cents(self) -> int:
        """The opening balance, rounded down."""
        return self.opening_nano // NANO_PER_CENT

    @property
    def closing_cents(self) -> int:
        """The closing balance, rounded down."""
        return self.closing_nano // NANO_PER_CENT


def apportion(amounts: Sequence[int], total_cents: int) -> list[int]:
    """Return amounts in whole cents that add up to a total: each rounded down, or up where most was cut off.

    The total must be the sum of the amounts, up to the rounding of two balances.
    """
    cents = [amount // NANO_PER_CENT for amount in amounts]
    missing = total_cents - sum(cents)
    if not 0 <= missing <= sum(1 for amount in amounts if amount % NANO_PER_CENT):
        raise ArithmeticError(f"{len(amounts)} amounts and their total are {missing} cents apart")
    by_remainder = sorted(range(len(amounts)), key=lambda place: (-(amounts[place] % NANO_PER_CENT), place))
    for place in by_remainder[:missing]:
        cents[place] += 1
    return cents


def shown(statement: Statement) -> Statement:
    """Return the statement with every line's cents.

    Raises ArithmeticError when the lines do not lead from the opening to the closing balance.
    """
    if statement.opening_nano + sum(line.amount_nano for line in statement.lines) != statement.closing_nano:
        raise ArithmeticError(
            f"the lines of {statement.account}'s {statement.month} do not lead to its closing balance"
        )
    amounts = [amount for line in statement.lines for amount in _amounts(line)]
    cents = iter(apportion(amounts, statement.closing_cents - statement.opening_cents))
    return replace(
        statement, lines=[_with_cents(line, [next(cents) for _ in _amounts(line)]) for line in statement.lines]
    )


def _amounts(line: Line) -> list[int]:
    """Return the amounts of a line that are shown apart."""
    if line.model_fee_nano is None or line.service_fee_nano is None:
        return [line.amount_nano]
    return [line.model_fee_nano, line.service_fee_nano]


def _with_cents(line: Line, cents: list[int]) -> Line:
    if len(cents) == 1:
        return replace(line, cents=cents[0])
    model_fee, service_fee = cents
    return replace(line, cents=model_fee + service_fee, model_fee_cents=model_fee, service_fee_cents=service_fee)
