"""What an account's money should be: lots, holds and debts as anybody would reckon them, with no regard to rows.

Amounts are nano-USD, times milliseconds. Nothing of ``tokenhub`` is used here.
"""

from dataclasses import dataclass, field

DAY = 86_400_000
NEVER = 2**63 - 1


@dataclass
class ModelLot:
    number: int
    granted: int
    expires_at: int
    created_at: int
    available: int
    held: int = 0
    frozen: int = 0
    spent: int = 0
    expired: int = 0
    returned: int = 0
    repaid: int = 0

    @property
    def places(self) -> tuple[int, ...]:
        return (self.available, self.held, self.frozen, self.spent, self.expired, self.returned, self.repaid)


@dataclass
class Account:
    now: int
    lots: list[ModelLot] = field(default_factory=list)
    debt: int = 0
    holds: dict[str, list[tuple[ModelLot, int]]] = field(default_factory=dict)
    taken: dict[str, list[tuple[ModelLot | None, int]]] = field(default_factory=dict)
    """Event to what it took from which lot; None: debt."""

    @property
    def available(self) -> int:
        return sum(lot.available for lot in self.lots) - self.debt

    @property
    def held(self) -> int:
        return sum(lot.held for lot in self.lots)

    def ordered(self) -> list[ModelLot]:
        return sorted(self.lots, key=lambda lot: (lot.expires_at, lot.created_at, lot.number))

    def tidy(self) -> None:
        """The first credit there is repays debt; what is left of an expired lot is lost."""
        for lot in self.ordered():
            part = min(self.debt, lot.available)
            lot.available -= part
            lot.repaid += part
            self.debt -= part
            if lot.expires_at <= self.now:
                lot.expired += lot.available
                lot.available = 0

    def add(self, amount: int, expires_at: int) -> ModelLot:
        self.tidy()
        lot = ModelLot(len(self.lots), amount, expires_at, self.now, amount)
        self.lots.append(lot)
        self.tidy()
        return lot

    def place(self, request: str, amount: int) -> bool:
        """Set an amount aside, if the balance covers it."""
        self.tidy()
        if max(self.available, 0) < amount:
            return False
        parts = []
        for lot in self.ordered():
            part = min(amount, lot.available)
            if part:
                lot.available -= part
                lot.held += part
                parts.append((lot, part))
                amount -= part
        self.holds[request] = parts
        return True

    def end(self, request: str, charged: int) -> None:
        for lot, part in self.holds.pop(request):
            spent = min(part, charged)
            charged -= spent
            owed = min(self.debt, part - spent)
            self.debt -= owed
            left = part - spent - owed
            lot.held -= part
            lot.spent += spent
            lot.repaid += owed
            if lot.expires_at <= self.now:
                lot.expired += left
            else:
                lot.available += left

    def take(self, event: str, own: ModelLot, amount: int, frozen: int = 0) -> tuple[int, int, int]:
        """Take credit back; return what came from its own lot, from others, and what is owed."""
        self.tidy()
        frozen = min(frozen, own.frozen, amount)
        own.frozen -= frozen
        own.available += frozen
        parts: list[tuple[ModelLot | None, int]] = []
        left = amount
        for lot in [own, *(lot for lot in self.ordered() if lot is not own)]:
            part = min(left, lot.available)
            lot.available -= part
            lot.returned += part
            left -= part
            if part:
                parts.append((lot, part))
        if left:
            parts.append((None, left))
            self.debt += left
        self.taken[event] = parts
        from_own = sum(part for lot, part in parts if lot is own)
        return from_own, amount - left - from_own, left

    def put_back(self, event: str) -> int:
        self.tidy()
        parts = self.taken.pop(event)
        for lot, part in parts:
            if lot is None:
                self.debt -= part
            else:
                lot.returned -= part
                lot.available += part
                self._prolong(lot)
        for lot in reversed(self.ordered()):
            part = min(max(-self.debt, 0), lot.repaid)
            if part:
                lot.repaid -= part
                lot.available += part
                self.debt += part
                self._prolong(lot)
        self.tidy()
        return sum(part for _, part in parts)

    def freeze(self, lot: ModelLot, amount: int) -> int:
        self.tidy()
        frozen = min(lot.available, amount)
        lot.available -= frozen
        lot.frozen += frozen
        return frozen

    def unfreeze(self, lot: ModelLot, amount: int) -> None:
        self.tidy()
        lot.frozen -= amount
        lot.available += amount
        if amount and lot.expires_at <= self.now:
            self._prolong(lot)
        self.tidy()

    def _prolong(self, lot: ModelLot) -> None:
        lot.expires_at = max(lot.expires_at, self.now + 30 * DAY)
