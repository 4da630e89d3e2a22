"""``POST /stripe/webhook``: verified, kept, answered, and only then worked on (T23 to T26).

Anybody can post here, so a post is small, quick and one of few at a time: its body must be
whole before its signature can be checked.
"""

from typing import Any, Final

from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.errors import InternalError, InvalidRequest, Unavailable
from tokenhub.observability import log
from tokenhub.operations.payments import webhooks
from tokenhub.proxy import bodies
from tokenhub.proxy.runtime import Runtime
from tokenhub.store.database import CommitUnknown, StoreError

MAX_BYTES: Final = 512 * 1024
BODY_S: Final = 10.0
AT_ONCE: Final = 32
"""Bodies of this size in memory at a time, for callers nobody knows yet."""


async def stripe(request: BaseRequest, runtime: Runtime) -> tuple[int, Any]:
    """Take one event of Stripe's."""
    desk = runtime.webhook_desk
    if runtime.refusing is not None:
        raise runtime.refusing
    if desk.under_way >= AT_ONCE:
        raise Unavailable("Too many webhooks at once; send it again.", code="overloaded", retry_after_s=1)
    desk.under_way += 1
    try:
        return await _taken(request, runtime)
    except InvalidRequest as error:
        desk.refused(error)
        raise
    finally:
        desk.under_way -= 1


async def _taken(request: BaseRequest, runtime: Runtime) -> tuple[int, Any]:
    signatures = request.headers.getall("Stripe-Signature", ())
    if len(signatures) != 1:
        raise InvalidRequest("This path takes signed events of Stripe's alone.", code="invalid_signature")
    body = await bodies.read_bytes(request, MAX_BYTES, BODY_S)
    try:
        is_new = await runtime.change(lambda hub: webhooks.take(hub, body, signatures[0], clock.now_ms()))
    except (StoreError, CommitUnknown) as error:
        log.event("webhook_not_kept", level="error", code=error.code)
        raise InternalError("The event could not be kept; send it again.") from None
    if is_new:
        runtime.wake_payments()
    return 200, {"received": True}
