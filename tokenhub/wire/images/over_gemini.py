"""An OpenAI images request as Gemini's generateContent, and its reply back.

``responseModalities`` asks for a picture, ``imageConfig`` says its shape: an aspect ratio out
of ten and 1K, 2K or 4K (ai.google.dev, image generation, 2026-11). One picture comes a request.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tokenhub.call import Call
from tokenhub.wire.chat import request as chat
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.gemini import choice as gemini_choice
from tokenhub.wire.gemini import common as gemini
from tokenhub.wire.gemini import errors as gemini_errors
from tokenhub.wire.gemini import parts as gemini_parts
from tokenhub.wire.images import reply as images_reply
from tokenhub.wire.images import request as images
from tokenhub.wire.multipart import Upload
from tokenhub.wire.replies import Reply
from tokenhub.wire.words import code_word

RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
FILTERED = "The provider's content filter let no image through; nothing was charged. Change the prompt."
_FROM_2K, _FROM_4K = 2 * 2**20, 6 * 2**20
"""Areas above which the next class is nearer: 1K is 2**20 pixels, 2K four times that, 4K sixteen times."""
_READ = frozenset({"model", "prompt", "n", "size", "images", "stream", "partial_images"})


def request(body: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the upstream's body and the names of the fields that were left out; raises InvalidRequest."""
    given = {name: value for name, value in chat.outgoing(body).items() if value is not None}
    parts = [_picture(one, f"images[{at}]") for at, one in enumerate(given.get("images", ()))]
    config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
    shape = _shape(given.get("size"))
    if shape:
        config["imageConfig"] = shape
    sent = {"contents": [{"role": "user", "parts": [*parts, {"text": given["prompt"]}]}], "generationConfig": config}
    known = _READ | ({"response_format"} if given.get("response_format") == "b64_json" else set())
    return sent, tuple(sorted(given.keys() - known))


def _picture(found: Upload | Mapping[str, Any], param: str) -> dict[str, Any]:
    if isinstance(found, Upload):
        return {"inlineData": {"mimeType": found.content_type, "data": base64.b64encode(found.data).decode()}}
    return gemini_parts.media(str(found["image_url"]), f"{param}.image_url")


def _shape(size: object) -> dict[str, str]:
    """Return the aspect ratio nearest to a size, and the class of its area; nothing where the size is left to the model."""
    ratio = nearest_ratio(size, RATIOS)
    shape = {"aspectRatio": ratio} if ratio else {}
    if size not in images.AUTO:
        area = images.pixels(size)
        if area > _FROM_2K:
            shape["imageSize"] = "2K" if area <= _FROM_4K else "4K"
    return shape


def nearest_ratio(size: object, ratios: Sequence[str]) -> str:
    """Return the one of these ratios that is nearest to a size; empty for a size without width and height."""
    measured = images.dimensions(size)
    if measured is None:
        return ""
    width, height = measured
    return min(ratios, key=lambda ratio: abs(math.log(_ratio(ratio) * height / width)))


def _ratio(text: str) -> float:
    width, _, height = text.partition(":")
    return int(width) / int(height)


def reply(raw: Mapping[str, Any], call: Call, *, per_image: bool) -> Reply:
    """Read a reply; one without a picture is no result: UpstreamFault (FILTER where it was blocked)."""
    error = gemini_errors.parse_error(raw)
    if error is not None:
        raise UpstreamFault(gemini_errors.classify(error, None))
    found = [(part["inlineData"]["mimeType"], part["inlineData"]["data"]) for part in _pictures(raw)]
    if not found:
        raise UpstreamFault(_why_none(raw))
    told = gemini.parse_usage(raw.get("usageMetadata"))
    usage, estimated = images_reply.counted(
        told, call, len(found), images.variant_of({}, call.image_words), per_image=per_image
    )
    body = {
        "created": call.created_s,
        "data": [{"b64_json": data} for _, data in found],
        "output_format": found[0][0].removeprefix("image/"),
    }
    return images_reply.build(body, usage, estimated=estimated)


def _pictures(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the parts that are finished pictures: what the model drew while it thought is not billed and not shown."""
    parts = [part for candidate in _candidates(raw) for part in gemini_choice.parts_of(candidate)]
    return [part for part in parts if isinstance(part, dict) and not part.get("thought") and _is_picture(part)]


def _candidates(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = raw.get("candidates")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _is_picture(part: Mapping[str, Any]) -> bool:
    blob = part.get("inlineData")
    if not isinstance(blob, dict) or not (isinstance(blob.get("data"), str) and blob["data"]):
        return False
    return isinstance(blob.get("mimeType"), str) and blob["mimeType"].startswith("image/")


def _why_none(raw: Mapping[str, Any]) -> Failure:
    """Sort a reply without a picture: a blocked prompt or picture is the request's fault, anything else the upstream's."""
    reasons = [one.get("finishReason") for one in _candidates(raw)]
    blocked = gemini_choice.blocked(raw) or next(
        (one for one in reasons if isinstance(one, str) and gemini.FINISH_REASONS.get(one) == "content_filter"), None
    )
    if blocked is None:
        return Failure(FaultKind.PROTOCOL, code="no_image")
    return Failure(
        FaultKind.FILTER,
        code=code_word(blocked),
        message=FILTERED,
    )
