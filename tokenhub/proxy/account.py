"""``GET /v1/key``, ``/v1/credits`` and ``/v1/generation``: what key holders may read of their own."""

from typing import Any

from aiohttp import web

from tokenhub import clock
from tokenhub.errors import InvalidRequest
from tokenhub.operations import receipts
from tokenhub.proxy import admission
from tokenhub.proxy.runtime import Runtime


async def key(request: web.BaseRequest, runtime: Runtime) -> tuple[int, Any]:
    """Describe the key that asks."""
    await runtime.fresh()
    _, caller = await admission.authenticate(request, runtime)
    return 200, {"data": await runtime.read(lambda database: receipts.key(database, caller, clock.now_ms()))}


async def credits(request: web.BaseRequest, runtime: Runtime) -> tuple[int, Any]:
    """Show the credit of the key's account."""
    await runtime.fresh()
    _, caller = await admission.authenticate(request, runtime)
    found = await runtime.read(lambda database: receipts.credits(database, caller))
    return 200, {"data": found, **found}


async def generation(request: web.BaseRequest, runtime: Runtime) -> tuple[int, Any]:
    """Return the receipt of one request, as soon as it has ended."""
    await runtime.fresh()
    _, caller = await admission.authenticate(request, runtime)
    wanted = request.query.get("id", "")
    if not wanted:
        raise InvalidRequest("Say which request: /v1/generation?id=req_… (the x-request-id of its reply).", param="id")
    return 200, {"data": await runtime.read(lambda database: receipts.generation(database, caller, wanted))}
