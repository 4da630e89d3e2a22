"""Single requests of the last days: find one, list them, follow them as they end."""

import re
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tokenhub.catalog.names import target_of
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.operations import models
from tokenhub.operations.hub import Hub
from tokenhub.store import requests as store
from tokenhub.store.database import StoreError
from tokenhub.store.requests import EndedRequest as EndedRequest
from tokenhub.store.requests import RequestFilter as RequestFilter

POLL_S: Final = 1.0
"""How often a followed list is read anew."""

_OVERLAP_MS: Final = 10_000
"""How far each reading goes back behind the one before: a batch is committed a moment after its requests ended."""

_SEEN: Final = 10_000
"""How many requests are remembered as shown already."""

_PAGE: Final = 1_000

_BEGINNING: Final = re.compile(r"req_[0-9a-f]{1,31}", re.ASCII)
_WHOLE: Final = re.compile(r"req_[0-9a-f]{32}|(?!req_)[\x21-\x7e]{8,200}", re.ASCII)
"""An id that a request may still get: ours, or what a provider may call its reply."""
_BEHIND: Final = "g"
"""Sorts behind every digit of an id."""


def find(hub: Hub, request_id: str) -> EndedRequest:
    """Return a request by its id or a beginning of it, or by the provider's id of its reply; Conflict for several."""
    found = store.one(hub.database, request_id) or _starting(hub, request_id)
    if found is None:
        raise NotFound(
            f"There is no ended request {request_id[:80]!r}: it may still run, be older than what is kept, or one of many that were refused. See: tokenhub requests list"
        )
    return found


def _starting(hub: Hub, start: str) -> EndedRequest | None:
    """Return the one request whose id begins like this (T126: never a guess)."""
    if _BEGINNING.fullmatch(start) is None:
        return None
    page = store.listing(hub.database, RequestFilter(), before=start + _BEHIND, limit=2)
    found = [request for request in page if request.id.startswith(start)]
    if len(found) > 1:
        raise Conflict(f"More than one request begins with {start!r}. Give more of its id: tokenhub requests list")
    return found[0] if found else None


def checked(hub: Hub, wanted: RequestFilter) -> RequestFilter:
    """Return the filter with its model by its own name; NotFound for a name that means nothing and that no request bears.

    A model or provider that was removed can still be asked for: its requests are kept.
    """
    with hub.database.read():
        catalog = models.catalog(hub.database)
    target = target_of(catalog, wanted.model) if wanted.model else None
    if target is not None:
        wanted = replace(wanted, model=target.model.id, provider=wanted.provider or target.provider)
    elif wanted.model and not _bears(hub, RequestFilter(model=wanted.model)):
        models.check_names(catalog, [wanted.model])
    provider = wanted.provider
    if provider and provider not in catalog.providers and not _bears(hub, RequestFilter(provider=provider)):
        raise NotFound(f"There is no provider {provider[:40]!r}. See: tokenhub providers list")
    return wanted


def _bears(hub: Hub, wanted: RequestFilter) -> bool:
    return bool(store.listing(hub.database, wanted, limit=1))


def listing(hub: Hub, wanted: RequestFilter, *, limit: int) -> list[EndedRequest]:
    """Return requests, the newest first."""
    return store.listing(hub.database, wanted, limit=limit)


def ended(hub: Hub, request_id: str) -> EndedRequest | None:
    """Return a request if it has ended; None for one that may still end. InvalidRequest for what no request can be called."""
    found = store.one(hub.database, request_id) or _starting(hub, request_id)
    if found is None and _WHOLE.fullmatch(request_id) is None:
        raise InvalidRequest(
            f"{request_id[:80]!r} is no whole id of a request, so its end cannot be waited for: give the x-request-id of its reply.",
            param="id",
        )
    return found


def wait_for(hub: Hub, request_id: str, poll_s: float = POLL_S) -> EndedRequest:
    """Return a request as soon as it has ended, however long the database is away meanwhile."""
    while True:
        with suppress(StoreError):
            if (found := store.one(hub.database, request_id)) is not None:
                return found
        time.sleep(poll_s)


def follow(hub: Hub, wanted: RequestFilter, *, limit: int, poll_s: float = POLL_S) -> Iterator[EndedRequest]:
    """Return the newest requests, the newest last, then every other as it ends, each once, for as long as it is asked.

    What ended while the database was away comes when it is back.
    """
    read_ms = hub.database.now_ms()
    with hub.database.read():
        page = store.listing(hub.database, wanted, limit=limit)
        before = _ended_since(hub, wanted, read_ms)
    shown = OrderedDict.fromkeys({one.id for one in before} - {one.id for one in page})
    while True:
        for request in sorted(page, key=lambda one: (one.ended_at, one.id)):
            if request.id not in shown:
                shown[request.id] = None
                yield request
        while len(shown) > _SEEN:
            shown.popitem(last=False)
        time.sleep(poll_s)
        page = []
        with suppress(StoreError):
            now_ms = hub.database.now_ms()
            page = _ended_since(hub, wanted, read_ms)
            read_ms = now_ms


def _ended_since(hub: Hub, wanted: RequestFilter, last_ms: int) -> list[EndedRequest]:
    """Return all requests that the reading at this moment may have lacked; after a pause there may be many."""
    wanted = replace(wanted, since_ms=max(wanted.since_ms or 0, last_ms - _OVERLAP_MS))
    found: list[EndedRequest] = []
    while page := store.listing(hub.database, wanted, before=found[-1].id if found else None, limit=_PAGE):
        found += page
    return found
