"""What is attached to a prompt beside its text: what it is counted as, and where it may lie.

The parts of chat and of Responses differ in name only. What a part is called does not settle what
it is: an address that tells of a film is a film's, also where it is given as a picture's. The hub
opens no connection of its own for a prompt, so what an address tells is all that is known.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tokenhub.errors import InvalidRequest

IMAGES, AUDIO, FILES = FACTS = ("images", "audio_parts", "files")
"""The facts of a Call that count what is attached."""

_TEXTS = frozenset(
    {
        "encrypted_content",
        "input_text",
        "logs",
        "output_text",
        "reasoning",
        "reasoning_content",
        "reasoning_text",
        "redacted_thinking",
        "reference",
        "refusal",
        "summary_text",
        "text",
        "thinking",
        "tool_call",
        "tool_use",
    }
)
"""Types of parts whose bytes are all that is read of them, those that clients send back from a reply included."""
_IMAGES = frozenset({"computer_screenshot", "image", "image_url", "input_image"})
_STORED = ("container_id", "file_id")
_WORDS = frozenset({"context", "filename", "name", "text", "title"})
"""Members that may begin as an address does and are none."""
_SCHEME = re.compile(r"\s*(?:(data):|([a-z][a-z0-9+.-]{0,31})://)", re.IGNORECASE)
_DATA_KIND = re.compile(r"\s*data:([^;,]{0,127})", re.IGNORECASE)
_FETCHED = ("http", "https")
_UNTOLD = ("", "application/octet-stream", "binary/octet-stream")
_FILMS = ("youtu.be", "youtube.com", "youtube-nocookie.com")
"""Hosts whose pages Google reads as the films on them (ai.google.dev, video understanding, 2026-11)."""
_ENDINGS: Mapping[str, str] = {
    "avi": "video/avi",
    "csv": "text/csv",
    "flac": "audio/flac",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "html": "text/html",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "md": "text/markdown",
    "mov": "video/mov",
    "mp3": "audio/mp3",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "ogg": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "txt": "text/plain",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
}
"""File name endings to the media types Gemini lists (ai.google.dev/gemini-api/docs, 2026-11-22)."""


def count(parts: list[Any], counts: dict[str, int]) -> None:
    """Add the parts that are no text to the facts of a Call that count them."""
    for part in parts:
        fact = _fact_of(part) if isinstance(part, dict) else None
        if fact is not None:
            counts[fact] += 1


def _fact_of(part: Mapping[str, Any]) -> str | None:
    """Return what a part is counted as: a text as nothing, whatever may unfold to any length as a file."""
    if _is_text(part):
        return None
    kind = str(part.get("type"))
    if kind in _IMAGES and holds_picture(part):
        return IMAGES
    return AUDIO if kind == "input_audio" and all(map(_is_sound, _urls(part))) else FILES


def holds_picture(part: Mapping[str, Any]) -> bool:
    """Return whether a part that is named an image holds one, as far as can be told, and not several."""
    urls = _urls(part)
    return len(urls) <= 1 and not isinstance(part.get(str(part.get("type"))), list) and all(map(_is_image, urls))


def _is_image(url: str) -> bool:
    return is_picture(kind_of(url))


def _is_text(part: Mapping[str, Any]) -> bool:
    """Return whether all that is read of a part is its words; one without a type is, unless it has an address."""
    kind = part.get("type")
    if kind is None:
        return not any(name.endswith("_url") for name in part)
    if kind == "tool_result":
        inside = part.get("content")
        if isinstance(inside, list):
            return all(isinstance(one, dict) and _is_text(one) for one in inside)
        return inside is None or isinstance(inside, str)
    return isinstance(kind, str) and kind in _TEXTS


def _is_sound(url: str) -> bool:
    """Return whether an address holds the sound itself: how long it is at any other, nobody can tell."""
    kind = kind_of(url)
    return _scheme_of(url) == "data" and (kind in _UNTOLD or kind.startswith("audio/"))


def refuse_stored(part: Mapping[str, Any], place: str) -> None:
    """Raise InvalidRequest for a part that names what lies in a provider's store: it would be read with the operator's key."""
    for holder in (part,) if _is_text(part) else _objects(part):
        for name in _STORED:
            if holder.get(name) not in (None, ""):
                raise InvalidRequest(
                    f"{place} has a {name}, and no files are kept here: send file_data or a URL.",
                    code="unsupported_parameter",
                    param=f"{place}.{name}" if holder is part else place,
                )
    for text in () if _is_text(part) else _strings(part):
        if _scheme_of(text) not in ("", "data", *_FETCHED):
            raise InvalidRequest(f"{place} must have an http, https or data URL.", param=place)


def is_picture(kind: str) -> bool:
    """Return whether a media type is a picture's, or tells nothing; what stands behind it does not count."""
    return kind.partition(";")[0].strip() in _UNTOLD or kind.startswith("image/")


def kind_of(url: str) -> str:
    """Return the media type that an address tells, in lower case; empty where it tells none."""
    scheme = _scheme_of(url)
    if scheme == "data":
        match = _DATA_KIND.match(url)
        return match[1].strip().lower() if match else ""
    if scheme not in _FETCHED:
        return ""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""
    if host in _FILMS or host.endswith(tuple(f".{film}" for film in _FILMS)):
        return "video/mp4"
    return kind_of_name(parts.path)


def kind_of_name(name: str) -> str:
    """Return the media type that a file's name tells by its ending; empty where it tells none."""
    return _ENDINGS.get(name[-8:].rpartition(".")[2].lower(), "")


def _scheme_of(text: str) -> str:
    match = _SCHEME.match(text)
    return (match[1] or match[2]).lower() if match else ""


def _urls(part: Mapping[str, Any]) -> list[str]:
    return [text for text in _strings(part) if _scheme_of(text)]


def _strings(part: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts in a part that can be addresses, at any depth."""
    waiting: list[Any] = [part]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += [value for name, value in item.items() if name not in _WORDS]
        elif isinstance(item, list):
            waiting += item


def _objects(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a part and the objects in it, at any depth."""
    waiting: list[Any] = [part]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
