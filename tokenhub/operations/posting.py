"""Notices as signed JSON, posted to the operator's own service."""

import http.client
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import SplitResult

from tokenhub import clock
from tokenhub.billing import signatures
from tokenhub.operations import forms, secrets
from tokenhub.operations.delivery import TIMEOUT_S, Away, Message, Refused, Unsendable
from tokenhub.operations.hub import Hub

SIGNATURE: Final = "TokenHub-Signature"
_REPLY_BYTES: Final = 65_536


@contextmanager
def session(hub: Hub) -> Iterator[Callable[[Message], None]]:
    """Yield what posts one notice, signed if there is a secret to sign with. Every post is a connection of its own."""
    secret = secrets.get(hub, secrets.NOTICES_SECRET)
    yield lambda message: _post(message, secret)


def _post(message: Message, secret: str | None) -> None:
    try:
        parts = forms.url(message.target)
    except ValueError as error:
        raise Unsendable(f"the webhook's address {error}") from None
    headers = {"Content-Type": "application/json", "User-Agent": "TokenHub", "Connection": "close"}
    if secret:
        headers[SIGNATURE] = signatures.sign(secret, message.payload, clock.now_ms() // 1000)
    try:
        status = _status(parts, message.payload, headers)
    except TimeoutError:
        raise Away("the receiver did not answer in time") from None
    except OSError as error:
        raise Away(f"the receiver cannot be reached: {error.strerror or type(error).__name__}") from None
    except (http.client.HTTPException, ValueError) as error:
        raise Away(f"the receiver does not speak HTTP ({type(error).__name__})") from None
    if not 200 <= status < 300:
        raise Refused(f"the receiver answered {status}")


def _status(parts: SplitResult, body: bytes, headers: dict[str, str]) -> int:
    """Post, and return the reply's status; a redirect is not followed: what is signed goes where it was told to go."""
    assert parts.hostname is not None
    connection = (
        http.client.HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
    )
    try:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        reply = connection.getresponse()
        reply.read(_REPLY_BYTES)
        return reply.status
    finally:
        connection.close()
