"""What only its maker can read, carried through clients of another API in the one member that they give back unread.

A tool loop breaks unless the provider that signed its reasoning gets it back unchanged. Each
API has one place that its clients return as it came: a redacted thinking block (Messages), a
reasoning item's ``encrypted_content`` (Responses), a call's ``thoughtSignature`` (Gemini). What
other makers want back travels there, JSON inside, marked as ours. Nothing in it is a secret:
it is the client's own conversation, and a chat client sends the same in the open.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.wire import json_text

_MARK = b"tokenhub:"
MARK = base64.b64encode(_MARK).decode()
"""Begins all that is ours. Nine bytes make twelve characters that are the same whatever follows, in both alphabets of base64."""


def pack(members: Mapping[str, Any]) -> str:
    """Return these members as one opaque text."""
    return base64.b64encode(_MARK + orjson.dumps(members)).decode()


def is_packed(text: object) -> bool:
    """Say whether a text is one of ours, which no provider can read."""
    return isinstance(text, str) and text.startswith(MARK)


def unpack(text: object) -> dict[str, Any]:
    """Return what was packed; nothing for a text that is not ours, or was damaged on its way."""
    if not isinstance(text, str) or not is_packed(text):
        return {}
    # Clients may write it again in the alphabet for URLs, without its padding.
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        members = json_text.loads(base64.b64decode(plain + "=" * (-len(plain) % 4))[len(_MARK) :])
    except (binascii.Error, ValueError):
        return {}
    return members if isinstance(members, dict) else {}
