"""Forms of OpenAI's API: ``multipart/form-data``, in which the gateway's own fields come as texts of JSON."""

from typing import Any

import orjson

from tokenhub.errors import InvalidRequest
from tokenhub.wire import multipart

_STRUCTURED = ("provider", "models")
"""The gateway's own fields, which are JSON on other surfaces and nothing that OpenAI's forms know."""


def is_form(content_type: str) -> bool:
    """Say whether a body of this type is a form."""
    return content_type.partition(";")[0].strip().lower() == multipart.MEDIA_TYPE


def parse(content_type: str, raw: bytes) -> dict[str, Any]:
    """Return the fields of a form; raises InvalidRequest for one that cannot be read."""
    fields = multipart.parse(content_type, raw)
    for name in _STRUCTURED:
        if isinstance(fields.get(name), str):
            try:
                fields[name] = orjson.loads(fields[name])
            except orjson.JSONDecodeError:
                raise InvalidRequest(f"{name} must be JSON.", param=name) from None
    return fields
