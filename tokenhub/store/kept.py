"""What is kept to be written again: operations that could not be written, and how long their waiters wait.

While the database is away (T89, T97) places fail at once; settles and releases are kept and
tried again until it is back. What other transactions have locked (T90) a place waits for, a
while. A settle that could not be written for ``patience_s`` is replaced by a release, and its
waiter told so: the caller has waited long enough for the end of the reply, and is not charged
for it.
"""

import random
from dataclasses import replace
from typing import Final

from tokenhub.billing.holds import End, Ended, Operation, Place, Release, Settle
from tokenhub.errors import Unavailable
from tokenhub.store.commit import Answer, Item, OutcomeUnknown
from tokenhub.store.database import StoreBusy

FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 1.0


class Kept:
    """The operations to be written again, in order of arrival. Belongs to one thread."""

    def __init__(self, patience_s: float, place_patience_s: float) -> None:
        self._patience_s = patience_s
        self._place_patience_s = place_patience_s
        self._items: list[Item] = []
        self._pause_s = 0.0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def pause_s(self) -> float:
        """How long to wait before the next try: longer after each, and not the same in every process."""
        return random.uniform(0.5, 1) * self._pause_s

    def take(self, most: int) -> list[Item]:
        """Take the first items for the next try."""
        taken, self._items = self._items[:most], self._items[most:]
        return taken

    def written(self) -> None:
        """Note that a batch was written: the database is there."""
        self._pause_s = 0.0

    def keep(self, left: list[Item], error: Unavailable, started_s: float, now_s: float) -> list[tuple[Item, Answer]]:
        """Keep what a batch has left because of this error; return who has waited long enough, and for what.

        ``started_s`` is when the batch began, ``now_s`` the time on the same stop-watch.
        """
        self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        items, self._items = left + self._items, []
        answers: list[tuple[Item, Answer]] = []
        for item in items:
            item.since_s = started_s if item.since_s is None else item.since_s
            if isinstance(item.operation, Place):
                answers += self._keep_place(item, item.operation, error, now_s - item.since_s)
            else:
                answers += self._keep_end(item, now_s - item.since_s)
        return answers

    def _keep_place(self, item: Item, place: Place, error: Unavailable, waited_s: float) -> list[tuple[Item, Answer]]:
        """Let a place wait for locks, a while; when it fails, what may be its hold is released."""
        if isinstance(error, StoreBusy) and waited_s < self._place_patience_s:
            self._items.append(item)
            return []
        if item.unknown:
            self._items.append(Item(Release(place.request_id), unknown=True))
        return [(item, error)]

    def _keep_end(self, item: Item, waited_s: float) -> list[tuple[Item, Answer]]:
        """Keep a settle or release; once its waiter's patience is over, as a release for which nobody waits."""
        if item.waiter is None or waited_s < self._patience_s:
            self._items.append(item)
            return []
        self._items.append(Item(_given_up(item.operation), unknown=item.unknown))
        return [(item, unwritten(item))]


def unwritten(item: Item) -> Answer:
    """Return the answer for a settle or release that will not be written as it is: its hold is, or will be, released."""
    return OutcomeUnknown() if item.unknown else Ended(End.RELEASED, 0, 0, 0, first=True)


def _given_up(operation: Operation) -> Operation:
    """Return the release that takes the place of an end that could not be written in time."""
    if not isinstance(operation, Settle):
        return operation
    record = replace(operation.record, status=503, error_code="ledger_unavailable")
    return Release(operation.request_id, record)
