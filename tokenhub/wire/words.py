"""What of an upstream's words may be kept: one word of a code, a name or an id. Whatever is longer can quote a prompt (T112)."""

import re
from typing import Any

_CODE = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_MODEL = re.compile(r"[A-Za-z0-9._:/@+~#-]{1,128}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9._:/@+~=-]{1,512}", re.ASCII)


def code_word(value: Any) -> str:
    """Return an upstream's word for an error or an end; a text that is no such word is left out whole, not made into one."""
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    return text if _CODE.fullmatch(text) else ""


def model_name(value: str | None) -> str | None:
    """Return what an upstream calls a model; None for what is no name."""
    return value if value and _MODEL.fullmatch(value) else None


def id_of(value: str | None) -> str | None:
    """Return an upstream's id of a reply or a task; None for what is none."""
    return value if value and _ID.fullmatch(value) else None
