"""``GET /v1/key``, ``/v1/credits`` and ``/v1/generation``: what key holders may read of their own."""

from typing import Any

from aiohttp.web_request import BaseRequest

from tokenhub import clock, ids
from tokenhub.accounts.accounts import Caller
from tokenhub.errors import InvalidRequest
from tokenhub.operations import receipts
from tokenhub.proxy.runtime import Runtime


async def key(_request: BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """Describe the key that asks."""
    return {"data": await runtime.read(lambda database: receipts.key(database, caller, clock.now_ms()))}


async def credits(_request: BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """Show the credit of the key's account."""
    found = await runtime.read(lambda database: receipts.credits(database, caller))
    return {"data": found, **found}


async def generation(request: BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """Return the receipt of one request, as soon as it has ended."""
    wanted = request.query.get("id", "")
    if not wanted:
        raise InvalidRequest("Say which request: /v1/generation?id=req_… (the x-request-id of its reply).", param="id")
    if not ids.may_be(wanted):
        raise receipts.unknown()
    return {"data": await runtime.read(lambda database: receipts.generation(database, caller, wanted))}
