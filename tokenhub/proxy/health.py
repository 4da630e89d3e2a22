"""Whether this process lives, and whether it can take a request. Neither says anything else (T41)."""

from typing import Any

from aiohttp.web_request import BaseRequest

from tokenhub.errors import Unavailable
from tokenhub.proxy.runtime import Runtime
from tokenhub.store import accounts


async def alive(_request: BaseRequest, _runtime: Runtime) -> tuple[int, Any]:
    """``GET /healthz``: the event loop turns."""
    return 200, {"status": "ok"}


async def ready(_request: BaseRequest, runtime: Runtime) -> tuple[int, Any]:
    """``GET /readyz``: the store answers, the writer writes, and new requests are taken.

    A ledger that did not add up at the start is said, but does not end the service.
    """
    if runtime.refusing is not None:
        return 503, {"status": "stopping"}
    try:
        await runtime.read(accounts.versions)
    except Unavailable:
        return 503, {"status": "ledger_unavailable"}
    if runtime.writer.is_away:
        return 503, {"status": "ledger_unavailable"}
    return 200, {"status": "ok" if runtime.ledger_adds_up() else "ledger_differs"}


async def root(_request: BaseRequest, _runtime: Runtime) -> tuple[int, Any]:
    """``GET /``: coding agents look here at start (clients note 4.9); it names the API."""
    return 200, {"service": "tokenhub", "api": "/v1"}
