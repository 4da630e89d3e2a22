"""Which session a call belongs to: what the client names, else a fingerprint of how the conversation began.

A provider's cache knows a prompt by its beginning, so the requests of one conversation belong on
one deployment. A session leaves this module as a MAC under a key of the installation's own, made
for one account: neither the name a client gave nor a word of its prompt can be told from it, and
the same name in two accounts gives two sessions (T118).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import orjson

from tokenhub.errors import InvalidRequest
from tokenhub.values import value

HEADER = "x-session-id"
KEY_PURPOSE = "sessions"
"""The vault derives the key of all sessions for this purpose."""
ID_BYTES = 16
NAME_CHARS = 256
"""Longest name that the header may carry, as ``session_id`` in the body."""

_SYSTEM = ("system", "developer")
_RESULTS = ("tool", "function")
_SIGNED = frozenset({"thinking_blocks", "reasoning_details", "extra_content"})
"""Members of an assistant message that only the provider they came from can read."""


@value
class Session:
    """A conversation, as far as one request shows it."""

    id: bytes
    """What is stored and what draws the deployment: ``ID_BYTES`` of a MAC."""
    is_named: bool
    """The client gave a name; else the conversation's beginning did."""
    shared: bytes = field(repr=False)
    """Tells what shares a cache: the session, or, where it has no name, all that share tools and system prompt.
    For :func:`cache_key` alone, never stored or sent."""
    is_bound: bool
    """In the middle of a tool loop, or with signatures in its history: only the deployment that made them
    is sure to understand them."""


def of(
    body: Mapping[str, Any],
    header: str | None,
    sent: Mapping[str, Any] | None = None,
    *,
    account_id: int,
    key: bytes,
) -> Session | None:
    """Return the session of a request body; None when it names none and has no conversation to tell it by.

    ``body`` is in chat form; ``sent`` is what the client sent, where that is another.

    Names count in this order: ``prompt_cache_key``, ``session_id``, the header, ``metadata.user_id`` (where
    Claude Code puts its session). Without a name, requests that share tools, system prompt and first user turn
    are one session; what they share beside others, without the turn, is told apart for :func:`cache_key`.
    Raises InvalidRequest for a header that is too long.
    """
    messages = _messages(body)
    name = name_of(body if sent is None else sent, header)
    if name:
        id = _mac(key, b"name", account_id, name.encode("utf-8", "surrogateescape"))
        return Session(id, True, id, is_bound(messages))
    if not messages:
        return None
    shared, first = _beginning(body, messages)
    prefix = hashlib.blake2b(shared, digest_size=32).digest() if shared else b""
    id = _mac(key, b"turn", account_id, prefix + first)
    return Session(id, False, prefix or id, is_bound(messages))


def name_of(body: Mapping[str, Any], header: str | None) -> str | None:
    """Return the name that the client gave its session, if it did; raises InvalidRequest for a header that is too long."""
    if header is not None and len(header) > NAME_CHARS:
        raise InvalidRequest(f"{HEADER} must have at most {NAME_CHARS} characters.", param=HEADER)
    metadata = body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    for name in (body.get("prompt_cache_key"), body.get("session_id"), header, user):
        if name and isinstance(name, str):
            return name
    return None


def named(name: str, *, account_id: int, key: bytes) -> Session:
    """Return the session of a name alone, for explanations."""
    id = _mac(key, b"name", account_id, name.encode("utf-8", "surrogateescape"))
    return Session(id, True, id, False)


def cache_key(session: Session, *, account_id: int, key: bytes) -> str:
    """Return what an upstream may be told to find a session's cache by: another MAC, in hex.

    An upstream that looks for a cache by it would miss what all conversations of one application share, if each
    had a key of its own: without a name from the client it leaves the first user turn out.
    """
    return _mac(key, b"told", account_id, session.shared).hex()


def is_bound(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a conversation waits for the answer to a tool's result, or carries a provider's signatures."""
    if messages and messages[-1].get("role") in _RESULTS:
        return True
    # Most are a role and a content, and have nothing that could be signed.
    more = [message for message in messages if len(message) > 2 or "content" not in message]
    return any(message.get("role") == "assistant" and _is_signed(message) for message in more)


def _is_signed(message: Mapping[str, Any]) -> bool:
    if not _SIGNED.isdisjoint(message):
        return True
    calls = message.get("tool_calls")
    return isinstance(calls, list) and any("extra_content" in call for call in calls)


def _messages(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    messages = body.get("messages")
    return messages if isinstance(messages, list) else ()


def _beginning(body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> tuple[bytes, bytes]:
    """Return tools and system prompt, then the first user turn (or what stands in its place), as bytes."""
    before: list[Mapping[str, Any]] = []
    first: Mapping[str, Any] | None = None
    for message in messages:
        if message.get("role") not in _SYSTEM:
            first = message
            break
        before.append(message)
    if first is not None and first.get("role") != "user":  # an application that greets first
        first = next((message for message in messages if message.get("role") == "user"), first)
    tools = [*_unmarked(body.get("tools")), *_unmarked(body.get("functions"))]
    shared = orjson.dumps([tools, [_content(one) for one in before]]) if tools or before else b""
    return shared, orjson.dumps(_content(first)) if first is not None else b""


def _content(message: Mapping[str, Any]) -> Any:
    """Return what a message says, the same whether it is written as a text or as parts.

    Clients that mark what is to be cached move their marks forward with every turn, and so change the
    spelling of the turns before.
    """
    content = message.get("content")
    if not isinstance(content, list):
        return content
    parts = _unmarked(content)
    only = parts[0] if len(parts) == 1 else None
    return only["text"] if only is not None and only.keys() == {"type", "text"} else parts


def _unmarked(parts: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(parts, list) or not parts:
        return ()
    if not any(isinstance(part, dict) and "cache_control" in part for part in parts):
        return parts
    return [
        {name: inner for name, inner in part.items() if name != "cache_control"} if isinstance(part, dict) else part
        for part in parts
    ]


def _mac(key: bytes, use: bytes, account_id: int, text: bytes) -> bytes:
    return hashlib.blake2b(b"%b\0%d\0%b" % (use, account_id, text), digest_size=ID_BYTES, key=key).digest()


def pin_key(session: Session, model: str, *, key: bytes) -> bytes:
    """Return what the last deployment of a session is remembered by, one for each name of a model it asks for."""
    return _mac(key, session.id, 0, model.encode("utf-8", "surrogateescape"))
