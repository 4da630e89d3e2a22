"""OpenAI images: what a generation or an edit asks for.

Inside, both are one dictionary: OpenAI's fields, and for an edit ``images`` and ``mask`` as
its JSON form names them, each an ``Upload`` of a form or an object with ``image_url``. What
the upstream must judge (sizes, qualities, formats: they differ by model) passes as it is.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Units
from tokenhub.wire import attached
from tokenhub.wire.chat import request as chat
from tokenhub.wire.multipart import Upload

MAX_IMAGES = 10
"""OpenAI's most images of one request, made and given at once (API reference, images, 2026-11)."""
MAX_INPUTS = 16
PARTIAL_IMAGE_TOKENS = 100
"""What each partial image of a stream costs on top (OpenAI, image generation guide, 2026-11)."""
USUAL_PIXELS = 1536 * 1024
AUTO = (None, "", "auto")

_WORD = re.compile(r"[A-Za-z0-9*:_.-]{1,24}", re.ASCII)
"""A quality or size, whatever the provider calls it: ``hd``, ``1024*1024``, ``16:9``. It is kept with the request, so it is no text (T112)."""
_SIZE = re.compile(r"([1-9][0-9]{1,4})[x*]([1-9][0-9]{1,4})", re.ASCII)
_SCHEMES = ("https://", "http://", "data:image/")
_NAMED_SIZES = {"1k": 1024, "2k": 2048, "4k": 4096}
_VARYING = ("quality", "size")
"""What a price can depend on, in the order in which price cards name it."""
_NUMBERS = ("n", "partial_images", "output_compression", "seed")
_SWITCHES = ("stream", "watermark", "prompt_extend")


def parse_call(body: Mapping[str, Any], now_s: int = 0, *, edits: bool = False) -> Call:
    """Return the facts of a request for images; raises InvalidRequest that names the field at fault (T51)."""
    chat.refuse_control_fields(body)
    model = chat.parse_model(body)
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise InvalidRequest("prompt must be a text that is not empty.", param="prompt")
    count = _integer(body, "n", 1, MAX_IMAGES, 1)
    partial = _integer(body, "partial_images", 0, 3, 0)
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("stream must be true or false.", param="stream")
    if body.get("response_format") not in (None, "url", "b64_json"):
        raise InvalidRequest("response_format must be url or b64_json.", param="response_format")
    for name in ("size", "quality"):
        _check_word(body, name)
    given = [*inputs_of(body), *_loose_inputs(body)]
    _refuse_stored(body)
    if edits and not body.get("images"):
        raise InvalidRequest("image is missing: an edit needs one to start from.", param="image")
    if body.get("images") == [] and not edits:
        raise InvalidRequest("images must not be empty: leave it out to make an image from the prompt.", param="images")
    return Call(
        capability=Capability.IMAGES,
        model=model,
        wire=Wire.IMAGES,
        stream=bool(stream),
        input_bytes=_text_bytes(body),
        messages=1,
        images=len(given) + (body.get("mask") is not None),
        choices=count,
        units=(Units("image", count, variant_of(body) if _is_settled(body) else ""),),
        image_words=_words(body),
        output_beyond=partial * PARTIAL_IMAGE_TOKENS if stream else 0,
        image_scale=-(-pixels(body.get("size")) // USUAL_PIXELS),
        encoding=body.get("response_format"),
        created_s=now_s,
    )


def _integer(body: Mapping[str, Any], name: str, low: int, high: int, default: int) -> int:
    found = body.get(name)
    if found is None:
        return default
    if type(found) is not int or not low <= found <= high:
        raise InvalidRequest(f"{name} must be an integer from {low} to {high}.", param=name)
    return found


def _check_word(body: Mapping[str, Any], name: str) -> None:
    found = body.get(name)
    if found not in AUTO and not _is_word(found):
        raise InvalidRequest(f"{name} must be one word, such as 1024x1024 or high.", param=name)


def _is_word(found: Any) -> bool:
    return isinstance(found, str) and _WORD.fullmatch(found) is not None


def _text_bytes(body: Mapping[str, Any]) -> int:
    """Return the size of all that is not a picture."""
    return len(orjson.dumps({name: one for name, one in body.items() if name not in ("images", "mask")}, default=str))


def inputs_of(body: Mapping[str, Any]) -> list[Upload | dict[str, Any]]:
    """Return the pictures an edit starts from; raises InvalidRequest."""
    given = [] if body.get("images") is None else body["images"]
    if not isinstance(given, list) or len(given) > MAX_INPUTS:
        raise InvalidRequest(f"images must be a list of at most {MAX_INPUTS}.", param="images")
    for position, one in enumerate(given):
        _check_input(one, f"images[{position}]")
    if body.get("mask") is not None:
        _check_input(body["mask"], "mask")
    return given


def _check_input(found: Any, param: str) -> None:
    if isinstance(found, Upload):
        if not found.data:
            raise InvalidRequest(f"{param} is an empty file.", param=param)
        if not attached.is_picture(found.content_type.lower()):
            raise InvalidRequest(f"{param} is a file of another kind than an image.", param=param)
    elif isinstance(found, dict) and found.get("file_id"):
        raise InvalidRequest(
            f"{param}.file_id names a stored file, and no files are stored here; send image_url.",
            param=f"{param}.file_id",
        )
    elif not (isinstance(found, dict) and isinstance(found.get("image_url"), str)):
        raise InvalidRequest(f"{param} must be a file, or an object with image_url.", param=param)
    elif not found["image_url"].lower().startswith(_SCHEMES):
        # Anything else (a file, a provider's own store) would be read with the operator's rights.
        raise InvalidRequest(f"{param}.image_url must be an http, https or data URL.", param=f"{param}.image_url")
    elif not attached.is_picture(attached.kind_of(found["image_url"])):
        raise InvalidRequest(
            f"{param}.image_url is the address of something else than an image.", param=f"{param}.image_url"
        )


def _loose_inputs(body: Mapping[str, Any]) -> list[Any]:
    """Return the pictures in ``image``: not OpenAI's in JSON, but some compatible servers take one or several there."""
    given = body.get("image")
    found = given if isinstance(given, list) else [] if given is None else [given]
    for one in found:
        if not isinstance(one, str | dict):
            raise InvalidRequest("image must be a text or an object, or a list of them.", param="image")
        part = {"type": "image", "image": one}
        attached.refuse_stored(part, "image")
        if not attached.holds_picture(part):
            raise InvalidRequest("image is the address of something else than an image.", param="image")
    return found


def _refuse_stored(body: Mapping[str, Any]) -> None:
    """Refuse what names a stored file anywhere else: members that only some servers know, and more of a picture's own."""
    for name, found in body.items():
        if isinstance(found, dict | list) and name not in (*chat.GATEWAY_FIELDS, "image", "metadata"):
            attached.refuse_stored({"type": "image", "image": found}, name[:60])


def without_empty(body: dict[str, Any]) -> dict[str, Any]:
    """Leave a mask out that is an empty text: so forms, and clients that fill in every field, say that there is none."""
    return {name: found for name, found in body.items() if name != "mask"} if body.get("mask") == "" else body


def from_form(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an edit's form as its JSON form has them; raises InvalidRequest."""
    body: dict[str, Any] = {}
    for name, found in fields.items():
        if name == "image":
            body["images"] = found if isinstance(found, list) else [found]
        elif isinstance(found, Upload) and name != "mask":
            raise InvalidRequest(f"{name[:60]} must not be a file.", param=name[:60])
        else:
            body[name] = _from_text(name, found) if isinstance(found, str) else found
    return body


def _from_text(name: str, text: str) -> Any:
    """Read a form's text as what the field is in JSON; a text that is none passes, to be refused as such."""
    if name in _NUMBERS and re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
        return int(text)
    if name in _SWITCHES and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text


def dimensions(size: object) -> tuple[int, int] | None:
    """Return width and height of a size such as ``1024x1536`` or ``1024*1536``; None for any other."""
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    return (int(match[1]), int(match[2])) if match else None


def pixels(size: object) -> int:
    """Return the area of a size; the usual one's where it does not say."""
    found = dimensions(size)
    if found is not None:
        return found[0] * found[1]
    side = _NAMED_SIZES.get(size.lower(), 0) if isinstance(size, str) else 0
    return max(side * side, USUAL_PIXELS)


def _is_settled(body: Mapping[str, Any]) -> bool:
    return body.get("size") not in AUTO and body.get("quality") not in AUTO


def variant_of(told: Mapping[str, Any], asked: Mapping[str, str] | None = None) -> str:
    """Return what a price can depend on, ``high 1024x1024``: what is told, else what was asked for; ``auto`` says nothing."""
    words = {**(asked or {}), **_words(told)}
    return " ".join(words[name] for name in _VARYING if name in words)


def _words(told: Mapping[str, Any]) -> dict[str, str]:
    found = {name: told.get(name) for name in _VARYING}
    return {name: word for name, word in found.items() if word not in AUTO and _is_word(word)}
