"""The directory: key digest to caller, as last read.

It may only say "ask": what it holds plans a request, and the write that places the hold
decides whether the plan's versions still hold. A digest it does not know, and a caller it
would refuse, are looked up in the store each time.
"""

from collections import OrderedDict

from tokenhub.accounts.accounts import AccountStatus, Caller, KeyStatus


class Directory:
    """Callers by key digest, the least recently used forgotten beyond ``limit``."""

    __slots__ = ("_callers", "_limit")

    def __init__(self, limit: int = 100_000) -> None:
        self._callers: OrderedDict[bytes, Caller] = OrderedDict()
        self._limit = limit

    def find(self, digest: bytes, now_ms: int) -> Caller | None:
        """Return a caller that may plan a request, or None: then the store must be asked."""
        caller = self._callers.get(digest)
        if caller is None or not may_plan(caller, now_ms):
            return None
        return caller

    def keep(self, digest: bytes, caller: Caller) -> None:
        """Remember what the store said."""
        self._callers[digest] = caller
        self._callers.move_to_end(digest)
        if len(self._callers) > self._limit:
            self._callers.popitem(last=False)

    def forget(self, digest: bytes) -> None:
        """Ask the store the next time."""
        self._callers.pop(digest, None)

    def clear(self) -> None:
        """Forget everyone: something changed, and it is not known for whom."""
        self._callers.clear()


def key_is_valid(caller: Caller, now_ms: int) -> bool:
    """Whether the key authenticates: active and not expired."""
    expires_at_ms = caller.key.expires_at_ms
    return caller.key.status is KeyStatus.ACTIVE and (expires_at_ms is None or now_ms < expires_at_ms)


def may_plan(caller: Caller, now_ms: int) -> bool:
    """Whether a request of this caller would get as far as a hold."""
    return key_is_valid(caller, now_ms) and caller.account.status is AccountStatus.ACTIVE
