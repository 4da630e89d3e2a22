"""What one process counts of the posts to its webhook."""

from typing import Final

from tokenhub import clock
from tokenhub.errors import HubError
from tokenhub.observability import log

TELL_EVERY_S: Final = 60.0


class Desk:
    """Posts under way, and refused ones, which are logged once a minute: anybody can send as many as they like."""

    __slots__ = ("_refused", "_told_s", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self._refused = 0
        self._told_s: float | None = None

    def refused(self, error: HubError) -> None:
        """Count a post that was not believed (T23)."""
        self._refused += 1
        now_s = clock.monotonic_s()
        if self._told_s is None or now_s - self._told_s >= TELL_EVERY_S:
            log.event("webhook_refused", level="warning", code=error.code, posts=self._refused)
            self._refused, self._told_s = 0, now_s
