"""OpenAI's Videos API: what a client asks for, read once, and the object it is shown.

OpenAI ended the API on 2026-09-24; its shape lives on here (openapi of 2026-11: ``CreateVideo*``,
``VideoResource``). Adapters write a body of their own from members they know, so nothing that
changes the price slips through.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Units
from tokenhub.wire.chat import request as chat

PROMPT_CHARS: Final = 32_000
SECONDS_DEFAULT: Final = 4
SECONDS_MOST: Final = 60
"""Longer than any provider's longest (15 at DashScope's wan2.7, 2026-11)."""
SECONDS_UNSTATED: Final = 8
"""The most that a provider makes when the client states nothing: Veo has no less above 720p (2026-11)."""
SIZE_DEFAULT: Final = "720x1280"
"""OpenAI's own default."""

_SIZE = re.compile(r"([1-9][0-9]{1,4})[x*]([1-9][0-9]{1,4})", re.ASCII)
_TIER = re.compile(r"([0-9]{3,4}p|[248]k)", re.ASCII)
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.ASCII | re.IGNORECASE)
_RATIO = re.compile(r"[1-9][0-9]?:[1-9][0-9]?", re.ASCII)
_SHORT_SIDES: Final = ((540, "480p"), (800, "720p"), (1200, "1080p"))

SAID_ELSEWHERE: Final = frozenset({"provider", "models", "user", "metadata", "n", "stream"})
"""Members that are read before a body reaches an adapter; no provider is sent them."""


def normalised(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a client's body as it travels inside; raises InvalidRequest with the field as ``param``.

    ``seconds`` is a whole number or absent, ``size`` is ``WIDTHxHEIGHT`` or a tier such as
    ``1080p``, ``input_reference`` is an address or a data URL of one image. What is null is left
    out; members that are not known here stay, for adapters to report that they leave them out.
    """
    chat.refuse_control_fields(body)
    model, prompt = body.get("model"), body.get("prompt")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("Say which model makes the video.", param="model")
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > PROMPT_CHARS:
        raise InvalidRequest(f"Say in prompt what to show, in 1 to {PROMPT_CHARS} characters.", param="prompt")
    _refuse_more(body)
    inside: dict[str, Any] = {name: value for name, value in body.items() if value is not None}
    if "seconds" in inside:
        inside["seconds"] = _seconds(inside["seconds"])
    inside["size"] = _size(inside.get("size", SIZE_DEFAULT))
    _check_rest(inside)
    if "input_reference" in inside:
        inside["input_reference"] = _reference(inside["input_reference"])
    return inside


def parse_call(inside: Mapping[str, Any], created_s: int) -> Call:
    """Return the facts of a body as it travels inside. The most it can come to: the seconds asked for, in the size asked for."""
    variant = resolution(inside["size"])
    return Call(
        Capability.VIDEOS,
        inside["model"],
        wire=Wire.VIDEOS,
        input_bytes=len(inside["prompt"].encode()),
        images=int("input_reference" in inside),
        units=(Units("second", inside.get("seconds", SECONDS_UNSTATED), variant), Units("video", 1, variant)),
        created_s=created_s,
    )


def _refuse_more(body: Mapping[str, Any]) -> None:
    if body.get("n") not in (None, 1, "1"):
        raise InvalidRequest("A request makes one video; leave n out.", param="n", code="unpriced_feature")
    if body.get("stream") not in (None, False, "false"):
        raise InvalidRequest("Videos are not streamed: ask GET /v1/videos/{id}.", param="stream")


def _seconds(stated: object) -> int:
    """Read ``seconds``: a text at OpenAI, a number at others."""
    if isinstance(stated, str) and stated.isascii() and stated.isdigit() and len(stated) < 4:
        stated = int(stated)
    if type(stated) is not int or not 1 <= stated <= SECONDS_MOST:
        raise InvalidRequest(f'seconds must be a whole number from 1 to {SECONDS_MOST}, such as "8".', param="seconds")
    return stated


def _size(stated: object) -> str:
    if isinstance(stated, str):
        text = stated.strip().lower()
        if found := _SIZE.fullmatch(text):
            return f"{found[1]}x{found[2]}"
        if _TIER.fullmatch(text):
            return text
    raise InvalidRequest("size must be WIDTHxHEIGHT such as 1280x720, or a tier such as 1080p.", param="size")


def _check_rest(inside: dict[str, Any]) -> None:
    """Check members that some providers take; a form has numbers and truth values as texts."""
    for name in ("negative_prompt", "quality", "person_generation"):
        if name in inside and (not isinstance(inside[name], str) or len(inside[name]) > PROMPT_CHARS):
            raise InvalidRequest(f"{name} must be a text.", param=name)
    for name in ("seed", "fps"):
        if isinstance(text := inside.get(name), str) and text.isascii() and text.isdigit() and len(text) < 11:
            inside[name] = int(text)
        if name in inside and (type(inside[name]) is not int or not 0 <= inside[name] < 2**31):
            raise InvalidRequest(f"{name} must be a whole number from 0 on.", param=name)
    for name in ("watermark", "prompt_extend", "generate_audio"):
        inside.update({name: inside[name] == "true"} if inside.get(name) in ("true", "false") else {})
        if name in inside and type(inside[name]) is not bool:
            raise InvalidRequest(f"{name} must be true or false.", param=name)
    ratio = inside.get("aspect_ratio")
    if ratio is not None and not (isinstance(ratio, str) and _RATIO.fullmatch(ratio)):
        raise InvalidRequest("aspect_ratio must be such as 16:9.", param="aspect_ratio")


def _reference(stated: object) -> str:
    """Return the image as an address or a data URL: of an upload, an object with ``image_url``, or a text."""
    data = getattr(stated, "data", None)
    if isinstance(data, bytes | memoryview):
        kind = str(getattr(stated, "content_type", "") or "image/png").partition(";")[0].strip().lower()
        if not kind.startswith("image/"):
            raise InvalidRequest("input_reference must be an image.", param="input_reference")
        return f"data:{kind};base64,{base64.b64encode(data).decode()}"
    if isinstance(stated, Mapping):
        if stated.get("file_id"):
            raise InvalidRequest(
                "No files are kept here; send the image itself, or its address as image_url.", param="input_reference"
            )
        stated = stated.get("image_url")
        if isinstance(stated, Mapping):
            stated = stated.get("url")
    if isinstance(stated, str) and (_DATA_URL.match(stated) or stated.startswith(("https://", "http://"))):
        return stated
    raise InvalidRequest(
        "input_reference must be an uploaded image, or an object whose image_url is an address or a data URL.",
        param="input_reference",
    )


def resolution(size: str) -> str:
    """Return the tier of a size, as price cards name it: 480p, 720p, 1080p, 4k; that of ``WIDTHxHEIGHT`` by its short side."""
    found = _SIZE.fullmatch(size)
    if found is None:
        return size
    short = min(int(found[1]), int(found[2]))
    return next((tier for side, tier in _SHORT_SIDES if short <= side), "4k")


def is_tier(text: str) -> bool:
    """Whether a text can be the tier of a size: what a price is asked for by."""
    return _TIER.fullmatch(text) is not None


def ratio(size: str) -> str | None:
    """Return the shape of ``WIDTHxHEIGHT`` as the nearest of the usual ratios; None for a tier."""
    found = _SIZE.fullmatch(size)
    if found is None:
        return None
    shape = int(found[1]) / int(found[2])
    return min(_RATIOS, key=lambda name: abs(_RATIOS[name] - shape))


_RATIOS: Final = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0, "4:3": 4 / 3, "3:4": 3 / 4}


def data_of(reference: str) -> tuple[str, str] | None:
    """Return media type and base64 text of a data URL; None for an address."""
    if not _DATA_URL.match(reference):
        return None
    head, _, data = reference.partition(",")
    return head[5:].partition(";")[0].lower(), data


def video_object(
    video_id: str,
    *,
    model: str,
    status: str,
    progress: int,
    created_s: int,
    completed_s: int | None,
    expires_s: int | None,
    asked: Mapping[str, Any],
    error: Mapping[str, Any] | None = None,
    usage: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return OpenAI's Video object. ``prompt`` is null: no content is kept here. ``usage`` is an addition, once it is charged."""
    shown = {
        "id": video_id,
        "object": "video",
        "model": model,
        "status": status,
        "progress": progress,
        "created_at": created_s,
        "completed_at": completed_s,
        "expires_at": expires_s,
        "prompt": None,
        "size": str(asked.get("size", "")),
        "seconds": str(asked.get("seconds", "")),
        "quality": asked.get("quality", "standard"),
        "remixed_from_video_id": None,
        "error": error,
    }
    return shown if usage is None else {**shown, "usage": usage}
