"""Single requests of the last days: find one, list them, follow them as they end."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tokenhub import clock
from tokenhub.errors import NotFound
from tokenhub.operations.hub import Hub
from tokenhub.store import requests as store
from tokenhub.store.requests import EndedRequest as EndedRequest
from tokenhub.store.requests import RequestFilter as RequestFilter

POLL_S: Final = 1.0
"""How often a followed list is read anew."""

_OVERLAP_MS: Final = 10_000
"""How far back each reading goes: a batch is committed a moment after its requests ended, and clocks differ."""

_SEEN: Final = 10_000
"""How many requests are remembered as shown already."""

_PAGE: Final = 1_000


def find(hub: Hub, request_id: str) -> EndedRequest:
    """Return a request by its id, or by the provider's id of its reply."""
    found = store.one(hub.database, request_id)
    if found is None:
        raise NotFound(
            f"There is no ended request {request_id[:80]!r}: it may still run, be older than what is kept, or one of many that were refused. See: tokenhub requests list"
        )
    return found


def listing(hub: Hub, wanted: RequestFilter, *, limit: int) -> list[EndedRequest]:
    """Return requests, the newest first."""
    return store.listing(hub.database, wanted, limit=limit)


def wait_for(hub: Hub, request_id: str, poll_s: float = POLL_S) -> EndedRequest:
    """Return a request as soon as it has ended."""
    while (found := store.one(hub.database, request_id)) is None:
        time.sleep(poll_s)
    return found


def follow(hub: Hub, wanted: RequestFilter, *, limit: int, poll_s: float = POLL_S) -> Iterator[EndedRequest]:
    """Return the newest requests, the newest last, then every other as it ends, each once, for as long as it is asked."""
    shown: OrderedDict[str, None] = OrderedDict()
    page = store.listing(hub.database, wanted, limit=limit)
    floor_ms = max((request.ended_at for request in page), default=clock.now_ms())
    while True:
        for request in sorted(page, key=lambda one: (one.ended_at, one.id)):
            if request.id not in shown:
                shown[request.id] = None
                yield request
        while len(shown) > _SEEN:
            shown.popitem(last=False)
        time.sleep(poll_s)
        since_ms = max(floor_ms, clock.now_ms() - _OVERLAP_MS)
        page = store.listing(hub.database, replace(wanted, since_ms=since_ms), limit=_PAGE)
