"""A request's body, read whole: of the right media type, within its size and time, and within its account's room."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Final

from aiohttp.web_protocol import RequestPayloadError
from aiohttp.web_request import BaseRequest

from tokenhub.accounts.accounts import Caller
from tokenhub.errors import InvalidRequest, RateLimited, RequestTimeout, RequestTooLarge, UnsupportedMediaType
from tokenhub.proxy.downstream import ClientGone
from tokenhub.proxy.runtime import Runtime
from tokenhub.wire.surface import JSON

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODIES_OF_ONE: Final = 16
"""Largest bodies that one account may have on their way to one process, or as many bytes of smaller ones."""


async def read(request: BaseRequest, media_type: str, caller: Caller, runtime: Runtime) -> bytes:
    """Read the whole body, of this media type, within its size and time limits (T47, T48, T49, T69).

    It waits in memory before anything is held, so that credit and concurrency bound it not yet:
    what one account sends at once is bounded here.
    """
    headers, settings = request.headers, runtime.settings
    if headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise UnsupportedMediaType("Send the body without Content-Encoding.", code="unsupported_media_type")
    if headers.get("Content-Type", JSON).partition(";")[0].strip().lower() != media_type:
        raise UnsupportedMediaType(f"Send the body as Content-Type: {media_type}.", code="unsupported_media_type")
    limit = settings.server_max_body_bytes
    room = Room(runtime.bodies, caller.account.id, BODIES_OF_ONE * limit)
    return await read_bytes(request, limit, settings.server_body_timeout_s, room)


@dataclass(slots=True)
class Room:
    """What of the bodies on their way belongs to one body."""

    bodies: Counter[int]
    account_id: int
    limit_bytes: int
    taken_bytes: int = 0

    def take(self, size_bytes: int) -> None:
        """Count bytes that have come; raises RateLimited beyond what one account may have on its way."""
        self.taken_bytes += size_bytes
        self.bodies[self.account_id] += size_bytes
        if self.bodies[self.account_id] > self.limit_bytes:
            raise RateLimited(
                "This account has too many large bodies on their way; wait for one to be sent.",
                code="too_many_concurrent",
                retry_after_s=1,
            )

    def leave(self) -> None:
        """Give back what was counted."""
        self.bodies[self.account_id] -= self.taken_bytes
        if not self.bodies[self.account_id]:
            del self.bodies[self.account_id]


async def read_bytes(request: BaseRequest, limit: int, timeout_s: float, room: Room | None = None) -> bytes:
    """Read a whole body as it was sent, at most ``limit`` bytes within ``timeout_s``; ``room`` is told of what has come."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    content = request.content
    if content.is_eof():
        return _within(content.read_nowait(-1), limit)
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version > (1, 0) and request.transport:
        request.transport.write(_CONTINUE)
    parts, size = [], 0
    try:
        async with asyncio.timeout(timeout_s):
            while data := await content.readany():
                size += len(data)
                if size > limit:
                    raise _too_large(limit)
                if room is not None:
                    room.take(len(data))
                parts.append(data)
    except TimeoutError:
        raise RequestTimeout("The body did not arrive in time.") from None
    except RequestPayloadError:
        raise InvalidRequest("The body is not framed as HTTP/1.1 asks.", code="malformed_request") from None
    except ConnectionError:
        raise ClientGone from None
    finally:
        if room is not None:
            room.leave()
    return b"".join(parts)


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than this gateway takes ({limit} bytes).")
