"""An OpenAI images request as Imagen's ``:predict``, and its reply back.

Google's older image models: several pictures at once, billed one by one, filtered ones not
(ai.google.dev, Imagen, 2026-06; two of Google's own mocks). None is in the catalogue any
more; an operator's own offering of one is called so.
"""

from collections.abc import Mapping
from typing import Any

from tokenhub.call import Call
from tokenhub.usage import Units, Usage
from tokenhub.wire.chat import request as chat
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.gemini import errors as gemini_errors
from tokenhub.wire.images import over_gemini as images_over_gemini
from tokenhub.wire.images import reply as images_reply
from tokenhub.wire.images import request as images
from tokenhub.wire.replies import Reply

MAX_COUNT = 4
RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9")
_READ = frozenset({"model", "prompt", "n", "size"})


def request(body: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the upstream's body and the names of the fields that were left out."""
    given = {name: value for name, value in chat.outgoing(body).items() if value is not None}
    parameters: dict[str, Any] = {"sampleCount": given.get("n", 1)}
    ratio = images_over_gemini.nearest_ratio(given.get("size"), RATIOS)
    if ratio:
        parameters["aspectRatio"] = ratio
    known = _READ | ({"response_format"} if given.get("response_format") == "b64_json" else set())
    return {"instances": [{"prompt": given["prompt"]}], "parameters": parameters}, tuple(sorted(given.keys() - known))


def reply(raw: Mapping[str, Any], call: Call) -> Reply:
    """Read a reply; one in which every picture was filtered is a FILTER fault."""
    error = gemini_errors.parse_error(raw)
    if error is not None:
        raise UpstreamFault(gemini_errors.classify(error, None))
    found = raw.get("predictions")
    predictions = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    pictures = [
        one for one in predictions if isinstance(one.get("bytesBase64Encoded"), str) and one["bytesBase64Encoded"]
    ]
    if not pictures:
        reason = next((one["raiFilteredReason"] for one in predictions if one.get("raiFilteredReason")), None)
        raise UpstreamFault(_none(reason))
    data = [{"b64_json": one["bytesBase64Encoded"]} for one in pictures]
    body: dict[str, Any] = {"created": call.created_s, "data": data}
    kind = pictures[0].get("mimeType")
    if isinstance(kind, str) and kind.startswith("image/"):
        body["output_format"] = kind.removeprefix("image/")
    return images_reply.build(body, Usage(units=(Units("image", len(data), images.variant_of({}, call.image_words)),)))


def _none(reason: object) -> Failure:
    if not isinstance(reason, str):
        return Failure(FaultKind.PROTOCOL, code="no_image")
    return Failure(FaultKind.FILTER, code="rai_filtered", message=images_over_gemini.FILTERED)
