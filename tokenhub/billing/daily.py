"""Daily lines: what the requests of one UTC day cost, added up by account, key, model, provider, fee and lot.

They are all that is kept of requests for good. A line is the same whether it is made from the
requests of a day that is still open or read from a closed one, so no report changes when a day
is closed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tokenhub.billing.lots import Part

NO_LOT = 0
"""The lot of requests that cost nothing."""


class FeeKind(StrEnum):
    """Which of a charge's two fees."""

    MODEL = "model_fee"
    SERVICE = "service_fee"


@dataclass(frozen=True, slots=True, order=True)
class DailyLine:
    """One line. Amounts are nano-USD; lines sort as they are written down."""

    day_ms: int
    account_id: int
    key_id: str
    model: str
    provider: str
    kind: str
    lot_id: int
    amount_nano: int
    requests: int
    """Each request counts once: on the model-fee line of the first lot that paid."""
    shortfall_nano: int


@dataclass(frozen=True, slots=True)
class Group:
    """Whose requests, of what: a line without its fee and lot."""

    account_id: int
    key_id: str
    model: str
    provider: str


def split(model_fee: int, service_fee: int, paid: Sequence[Part]) -> Iterator[tuple[FeeKind, int, int]]:
    """Return what each lot paid of which fee: the model fee first, then the service fee, from the lots in their order.

    What no lot paid stands on ``NO_LOT``. The first of the results is the first lot's model fee,
    also when that is 0: there the request is counted.
    """
    parts = [*paid, (NO_LOT, model_fee + service_fee - sum(amount for _, amount in paid))]
    fees = [(FeeKind.MODEL, model_fee), (FeeKind.SERVICE, service_fee)]
    is_first = True
    for lot_id, left in parts:
        for index, (kind, due) in enumerate(fees):
            amount = min(left, due)
            if amount or is_first:
                yield kind, lot_id, amount
            is_first = False
            left -= amount
            fees[index] = (kind, due - amount)


@dataclass(slots=True)
class _Sums:
    amount: int = 0
    requests: int = 0
    shortfall: int = 0


@dataclass(slots=True)
class DayBook:
    """Adds up one day's requests, few or many at a time."""

    day_ms: int
    _sums: dict[tuple[Group, FeeKind, int], _Sums] = field(default_factory=dict)

    def add(
        self,
        group: Group,
        model_fee: int,
        service_fee: int,
        paid: Sequence[Part],
        *,
        requests: int = 1,
        shortfall: int = 0,
    ) -> None:
        """Add requests of one group that the same lots paid."""
        for kind, lot_id, amount in split(model_fee, service_fee, paid):
            sums = self._sums.setdefault((group, kind, lot_id), _Sums())
            sums.amount += amount
            sums.requests += requests
            sums.shortfall += shortfall
            requests = shortfall = 0

    def lines(self) -> list[DailyLine]:
        """Return the lines, sorted."""
        return sorted(
            DailyLine(
                self.day_ms,
                group.account_id,
                group.key_id,
                group.model,
                group.provider,
                kind.value,
                lot_id,
                sums.amount,
                sums.requests,
                sums.shortfall,
            )
            for (group, kind, lot_id), sums in self._sums.items()
        )


def requests_in(lines: Iterable[DailyLine]) -> int:
    """Return how many requests the lines count."""
    return sum(line.requests for line in lines)


def charged_in(lines: Iterable[DailyLine]) -> int:
    """Return what the lines add up to, in nano-USD."""
    return sum(line.amount_nano for line in lines)
