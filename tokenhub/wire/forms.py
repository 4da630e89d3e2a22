"""Forms of OpenAI's API: ``multipart/form-data``, in which the gateway's own fields come as texts of JSON or member by member.

OpenAI's SDKs write the members of an object as fields of their own: ``provider[ignore][]``,
``provider[data_collection]`` (openai 3.1 for Python, ``extra_body`` of a call with a file,
2026-11-22). Both spellings are read as the object they stand for, because a boundary that is
not understood must not be left out.
"""

import re
from typing import Any, Final

import orjson

from tokenhub.errors import InvalidRequest
from tokenhub.wire import json_body, multipart
from tokenhub.wire.chat.request import GATEWAY_FIELDS, is_forbidden

_STRUCTURED: Final = ("provider", "models")
"""The gateway's own fields, which are JSON on other surfaces and nothing that OpenAI's forms know."""
_MEMBER: Final = re.compile(r"([a-z_]+)((?:\[[^\[\]]+\]){1,4})", re.ASCII)
_SWITCHES: Final = {"true": True, "false": False}


def is_form(content_type: str) -> bool:
    """Say whether a body of this type is a form."""
    return content_type.partition(";")[0].strip().lower() == multipart.MEDIA_TYPE


def parse(content_type: str, raw: bytes) -> dict[str, Any]:
    """Return the fields of a form; raises InvalidRequest for one that cannot be read."""
    fields = multipart.parse(content_type, raw)
    for name in _STRUCTURED:
        if isinstance(fields.get(name), str):
            fields[name] = _read(name, fields[name])
    for name in list(fields):
        root = _root(name)
        if root != name and (root in GATEWAY_FIELDS or is_forbidden(root)):
            _fold(fields, name)
    return fields


def _read(name: str, text: str) -> Any:
    """Read a field's JSON as strictly as a body."""
    try:
        (value,) = json_body.parse_object(b"{%b:%b}" % (orjson.dumps(name), text.encode())).values()
    except (InvalidRequest, ValueError):
        raise InvalidRequest(f"{name} must be JSON, each member once.", param=name) from None
    return value


def _root(name: str) -> str:
    """Return the field that a member belongs to, however it is spelled."""
    return re.split(r"[\[.]", name, maxsplit=1)[0]


def _fold(fields: dict[str, Any], name: str) -> None:
    """Put one member into the object that it belongs to."""
    spelled = _MEMBER.fullmatch(name)
    if spelled is None:
        raise InvalidRequest(f"{name[:60]} must be spelled as {_root(name)}[member].", param=name[:60])
    *path, last = spelled[2][1:-1].split("][")
    place = fields.setdefault(spelled[1], {})
    for step in path:
        place = place.setdefault(step, {}) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last in place:
        raise InvalidRequest(f"{name[:60]} comes twice.", param=name[:60])
    found = fields.pop(name)
    place[last] = _SWITCHES.get(found, found) if isinstance(found, str) else found
