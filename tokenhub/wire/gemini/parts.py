"""Content parts of an OpenAI message as Gemini's parts: text, images, sound, video, documents.

A data URL goes inline; an http(s) URL is given to Google to fetch (``fileData``), because the
hub opens no connection of its own for a prompt. Other schemes and Google's file store are
refused: both would be read with the operator's credential.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from tokenhub.errors import InvalidRequest
from tokenhub.wire import attached

Part = dict[str, Any]

_DATA_URL = re.compile(r"data:([A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+)?((?:;[^;,]+)*?)(;base64)?,", re.IGNORECASE)
_MAX_ESCAPES = 100_000
"""In data that is not base64, 0.5 µs each; one that is binary has more from 100 KB on."""
_GOOGLES = ".googleapis.com"
_STORAGE = "storage.googleapis.com"
_FILE_STORE = "generativelanguage"
_PLAIN_HOST = re.compile(r"[a-z0-9._:-]+", re.ASCII)

AUDIO_FORMATS: Mapping[str, str] = {
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mp3",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "pcm16": "audio/pcm",
    "wav": "audio/wav",
    "webm": "audio/webm",
}


def parse_content(content: Any, param: str) -> list[Part]:
    """Return the parts of a message's content, given as a string or a list; empty texts are left out."""
    if isinstance(content, str):
        return [{"text": content}] if content else []
    if content is None:
        return []
    if not isinstance(content, list):
        raise InvalidRequest(f"{param} must be a string or a list of parts.", param=param)
    parts = [_part(item, f"{param}[{position}]") for position, item in enumerate(content)]
    return [part for part in parts if part != {"text": ""}]


def text_of(content: Any, param: str) -> str:
    """Return the text of a content that may hold nothing else (instructions)."""
    parts = parse_content(content, param)
    if any("text" not in part for part in parts):
        raise InvalidRequest(f"{param} can only hold text.", param=param)
    return "\n".join(part["text"] for part in parts)


def media(url: Any, param: str, *, fallback: str = "image/jpeg", name: str = "") -> Part:
    """Return an inline or fetched part for a URL.

    ``fallback`` is the media type when neither the URL nor the file name tells it. One is always said: Google
    would find out for itself, and read a film where a picture was counted.
    """
    if not isinstance(url, str) or not url:
        raise InvalidRequest(f"{param} must be a URL.", param=param)
    if url[:5].lower() == "data:":
        return _inline(url, param, fallback)
    public_url(url, param)
    kind = attached.kind_of(url) or attached.kind_of_name(name) or fallback
    return {"fileData": {"fileUri": url, "mimeType": kind}}


def public_url(url: str, param: str) -> SplitResult:
    """Take an address apart that the provider fetches; raises InvalidRequest for one that it would read with the operator's key."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise InvalidRequest(f"{param} is not a valid URL.", param=param) from None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidRequest(f"{param} must be an http, https or data URL.", param=param)
    if _PLAIN_HOST.fullmatch(host) is None or "\\" in parts.netloc:
        raise InvalidRequest(
            f"{param} must name its host in plain letters; write an international one as xn--….", param=param
        )
    if _is_file_store(host.rstrip("."), parts.path):
        raise InvalidRequest(
            f"{param} names a file in the provider's own store, which cannot be used here.", param=param
        )
    return parts


def _is_file_store(host: str, path: str) -> bool:
    """Say whether Google reads this address with the caller's key, by whichever of its hosts; objects of a storage are anybody's."""
    if not host.endswith(_GOOGLES) or host.endswith(_STORAGE):
        return False
    return _FILE_STORE in host or b"/files/" in unquote_to_bytes(path).lower()


def _inline(url: str, param: str, fallback: str) -> Part:
    match = _DATA_URL.match(url)
    if match is None:
        raise InvalidRequest(f"{param} is not a valid data URL.", param=param)
    data = url[match.end() :]
    if match.group(3) is None:
        if data.count("%") > _MAX_ESCAPES:
            raise InvalidRequest(f"{param} is a data URL with too many escapes; send it as base64.", param=param)
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return {"inlineData": {"mimeType": match.group(1) or fallback, "data": data}}


def _part(item: Any, param: str) -> Part:
    kind = item.get("type") if isinstance(item, dict) else None
    read = _PARTS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise InvalidRequest(f"{param} has a type that this model's provider does not take.", param=f"{param}.type")
    return read(item, param)


def _text(item: Mapping[str, Any], param: str) -> Part:
    text = item.get("text", item.get("refusal"))
    if not isinstance(text, str):
        raise InvalidRequest(f"{param}.text must be a string.", param=f"{param}.text")
    return {"text": text}


def _image(item: Mapping[str, Any], param: str) -> Part:
    return media(_url(item, "image_url"), f"{param}.image_url.url")


def _video(item: Mapping[str, Any], param: str) -> Part:
    return media(_url(item, "video_url"), f"{param}.video_url.url", fallback="video/mp4")


def _url(item: Mapping[str, Any], name: str) -> Any:
    value = item.get(name)
    return value.get("url") if isinstance(value, dict) else value


def _audio(item: Mapping[str, Any], param: str) -> Part:
    audio = item.get("input_audio")
    data, form = (audio.get("data"), audio.get("format", "wav")) if isinstance(audio, dict) else (None, None)
    kind = AUDIO_FORMATS.get(form) if isinstance(form, str) else None
    if not isinstance(data, str) or not data or kind is None:
        formats = ", ".join(sorted(AUDIO_FORMATS))
        raise InvalidRequest(
            f"{param}.input_audio needs base64 data and a format ({formats}).", param=f"{param}.input_audio"
        )
    return {"inlineData": {"mimeType": kind, "data": data}}


def _file(item: Mapping[str, Any], param: str) -> Part:
    file = item.get("file")
    members = file if isinstance(file, dict) else {}
    data, url, name = members.get("file_data"), members.get("file_url"), members.get("filename")
    name = name if isinstance(name, str) else ""
    if url and not data:
        return media(url, f"{param}.file.file_url", fallback="application/pdf", name=name)
    if not isinstance(data, str) or not data:
        raise InvalidRequest(
            f"{param}.file needs file_data or file_url: files stored at a provider cannot be used here.",
            param=f"{param}.file",
        )
    fallback = attached.kind_of_name(name) or "application/pdf"
    if data.startswith(("data:", "http:", "https:")):
        return media(data, f"{param}.file.file_data", fallback=fallback, name=name)
    return {"inlineData": {"mimeType": fallback, "data": data}}


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str], Part]] = {
    "text": _text,
    "refusal": _text,
    "image_url": _image,
    "video_url": _video,
    "input_audio": _audio,
    "file": _file,
}
