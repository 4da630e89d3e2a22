"""``multipart/form-data`` (RFC 7578): a body that is whole in memory, cut into its parts without a copy, and written again.

Read strictly, since two readers of one body must not see two requests (T50): the first
delimiter opens the body, every part has one ``Content-Disposition: form-data`` with a name,
nothing but line breaks follows the last delimiter, and a name comes once unless it says that
it is a list (``image[]``) or names files.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.values import value

MEDIA_TYPE = "multipart/form-data"
MAX_PARTS = 256
MAX_HEAD_BYTES = 4096
"""Of one part's headers."""
_LIST = "[]"

_BOUNDARY = re.compile(r'boundary=(?:"([^"\\]{1,70})"|([^\s";,]{1,70}))\s*(?:;|$)', re.ASCII | re.IGNORECASE)
_LEGAL_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]", re.ASCII)
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([^\r\n\0]*)")
_DISPOSITION = re.compile(r'form-data(?:;\s*[a-z*]+=(?:"(?:[^"\\]|\\.)*"|[^\s;"]+))+\s*;?\s*', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([a-z*]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}
"""What browsers and httpx write for characters that would end a quoted name (WHATWG HTML, multipart/form-data)."""


@value
class Upload:
    """A file in a form."""

    name: str
    """Of the field, without ``[]``."""
    filename: str
    content_type: str
    data: bytes | memoryview = field(repr=False)
    """A slice of the body it came in."""


def parse(content_type: str, raw: bytes) -> dict[str, Any]:
    """Return the fields of a form: texts as str, files as Upload; raises InvalidRequest ``invalid_multipart``.

    A field ``name[]`` is a list under ``name``, however often it comes; files that share a
    name are a list too.
    """
    delimiter = b"--" + _boundary(content_type)
    if not raw.startswith(delimiter):
        raise _invalid("it must begin with its boundary")
    fields: dict[str, Any] = {}
    view, start = memoryview(raw), len(delimiter)
    for _ in range(MAX_PARTS + 1):
        if raw[start : start + 2] == b"--":
            if raw[start + 2 :].strip(b"\r\n"):
                raise _invalid("something follows its last boundary")
            return fields
        end = raw.find(b"\r\n" + delimiter, start)
        if end < 0:
            raise _invalid("it is cut off")
        _add(fields, *_part(raw, view, start, end))
        start = end + 2 + len(delimiter)
    raise _invalid(f"it has more than {MAX_PARTS} parts")


def boundary_of(content_type: str) -> str | None:
    """Return the boundary that a content type names, if it is a legal one."""
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        return None
    match = _BOUNDARY.search(content_type)
    found = (match[1] or match[2]) if match else ""
    return found if _LEGAL_BOUNDARY.fullmatch(found) else None


def _boundary(content_type: str) -> bytes:
    found = boundary_of(content_type)
    if found is None:
        raise _invalid("its Content-Type names no boundary")
    return found.encode("ascii")


def _part(raw: bytes, view: memoryview, start: int, end: int) -> tuple[str, str | Upload]:
    """Read the part between two delimiters; ``start`` is behind the first one's text."""
    head_end = raw.find(b"\r\n\r\n", start, min(end + 2, start + MAX_HEAD_BYTES))
    if raw[start : start + 2] != b"\r\n" or head_end < 0 or head_end + 4 > end + 2:
        raise _invalid("a part has no headers, or too many")
    headers = _headers(raw[start + 2 : head_end])
    name, filename = _names(headers.get("content-disposition", ""))
    if headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
        raise _invalid("a part has a content-transfer-encoding")
    data = view[min(head_end + 4, end) : end]
    if filename is not None:
        kind = headers.get("content-type", "application/octet-stream")
        return name, Upload(name.removesuffix(_LIST), filename, kind, data)
    try:
        return name, str(data, "utf-8")
    except UnicodeDecodeError:
        raise _invalid(f"the field {name[:60]!r} is not UTF-8") from None


def _headers(head: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in head.split(b"\r\n"):
        match = _HEADER.fullmatch(line)
        name = match[1].decode("ascii").lower() if match else ""
        if match is None or name in found:
            raise _invalid("a part has a header that cannot be read")
        try:
            found[name] = match[2].decode("utf-8").strip()
        except UnicodeDecodeError:
            raise _invalid("a part has a header that is not UTF-8") from None
    return found


def _names(disposition: str) -> tuple[str, str | None]:
    """Return the name and the file name of a part; ``filename*`` is not for forms (RFC 7578, 4.2) and is left unread."""
    if not _DISPOSITION.fullmatch(disposition):
        raise _invalid("a part has no Content-Disposition: form-data with a name")
    found: dict[str, str] = {}
    for key, quoted, plain in _PARAMETER.findall(disposition):
        if key.lower() in found:
            raise _invalid("a part has a parameter twice")
        found[key.lower()] = plain or _unquoted(quoted)
    name = found.get("name", "")
    if not name.removesuffix(_LIST):
        raise _invalid("a part has no name")
    return name, found.get("filename", "" if "filename*" in found else None)


def _unquoted(text: str) -> str:
    # A backslash that escapes nothing is part of the name: Windows paths come so.
    text = re.sub(r'\\(["\\])', r"\1", text)
    for escaped, character in _ESCAPED.items():
        text = text.replace(escaped, character)
    return text


def _add(fields: dict[str, Any], name: str, found: str | Upload) -> None:
    key = name.removesuffix(_LIST)
    before = fields.get(key)
    if name != key:
        if key in fields and not isinstance(before, list):
            raise _invalid(f"the field {key[:60]!r} comes twice")
        fields.setdefault(key, []).append(found)
    elif key not in fields:
        fields[key] = found
    elif isinstance(found, Upload) and isinstance(before, Upload):
        fields[key] = [before, found]
    elif isinstance(found, Upload) and isinstance(before, list) and isinstance(before[-1], Upload):
        before.append(found)
    else:
        raise _invalid(f"the field {key[:60]!r} comes twice")


def _invalid(problem: str) -> InvalidRequest:
    return InvalidRequest(f"The body is not valid multipart/form-data: {problem}.", code="invalid_multipart")


def render(fields: Mapping[str, Any]) -> tuple[str, list[bytes | memoryview]]:
    """Return the content type of a form and its body in pieces; files are not copied.

    Values are texts, numbers, booleans, Uploads and lists of them, which are written as
    ``name[]``; None is left out.
    """
    boundary = secrets.token_hex(16)
    pieces: list[bytes | memoryview] = []
    for name, found in fields.items():
        listed = isinstance(found, Sequence) and not isinstance(found, str)
        for one in found if listed else (found,):
            if one is not None:
                pieces += (_head(boundary, name + _LIST if listed else name, one), _content(one), b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"{MEDIA_TYPE}; boundary={boundary}", pieces


def _head(boundary: str, name: str, found: Any) -> bytes:
    lines = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'
    if isinstance(found, Upload):
        # A header value must not break its line, whatever the client called its file.
        kind = found.content_type if found.content_type.isascii() and found.content_type.isprintable() else ""
        lines += f'; filename="{_quoted(found.filename)}"\r\nContent-Type: {kind or "application/octet-stream"}'
    return f"{lines}\r\n\r\n".encode()


def _quoted(text: str) -> str:
    text = text.replace("\0", "")
    for escaped, character in _ESCAPED.items():
        text = text.replace(character, escaped)
    return text


def _content(found: Any) -> bytes | memoryview:
    if isinstance(found, Upload):
        return found.data
    if isinstance(found, bool):
        return b"true" if found else b"false"
    return str(found).encode()
