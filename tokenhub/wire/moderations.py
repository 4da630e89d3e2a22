"""OpenAI moderations: texts and images in, a verdict on each out.

OpenAI's own model is free, so most cards price it at 0; a server of one's own may cost tokens.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage
from tokenhub.wire import attached
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat import request as chat
from tokenhub.wire.chat.parts import text_of
from tokenhub.wire.embeddings import request as embeddings
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.openai_surfaces import OpenAISurface
from tokenhub.wire.replies import Reply

DEFAULT_MODEL = "omni-moderation-latest"
"""What OpenAI takes where a request names none (API reference, create moderation, 2026-11)."""
MAX_INPUTS = 2048
_PARTS = ("text", "image_url")


class ModerationsSurface(OpenAISurface):
    """``/v1/moderations``."""

    wire: ClassVar[Wire] = Wire.MODERATIONS

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        named = body if body.get("model") is not None else {**body, "model": DEFAULT_MODEL}
        return parse_call(named, size_bytes, self.arrival.now_s), named

    def usage(self, usage: Usage, cost: Mapping[str, Any], _reply: Reply | None) -> Mapping[str, Any]:
        return {**embeddings.render_usage(usage), **cost}


def parse_call(body: Mapping[str, Any], size_bytes: int, now_s: int = 0) -> Call:
    """Return the facts of a moderations request; raises InvalidRequest that names the field at fault.

    ``messages`` counts the verdicts to come: one for each text of a list, one for parts together.
    """
    chat.refuse_control_fields(body)
    model = chat.parse_model(body)
    given = body.get("input")
    texts = isinstance(given, list) and all(isinstance(entry, str) for entry in given)
    parts = isinstance(given, list) and all(_is_part(entry) for entry in given)
    if not given or not (isinstance(given, str) or texts or parts):
        raise InvalidRequest("input must be a text, a list of texts, or a list of text and image parts.", param="input")
    for position, part in enumerate(given if parts else ()):
        attached.refuse_stored(part, f"input[{position}]")
    if len(given) > MAX_INPUTS and not isinstance(given, str):
        raise InvalidRequest(f"input can hold at most {MAX_INPUTS} inputs.", param="input")
    return Call(
        capability=Capability.MODERATIONS,
        model=model,
        wire=Wire.MODERATIONS,
        input_bytes=size_bytes,
        messages=len(given) if texts else 1,
        images=sum(entry["type"] == "image_url" for entry in given) if parts else 0,
        created_s=now_s,
    )


def _is_part(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("type") in _PARTS


def reply(
    raw: dict[str, Any], call: Call, *, is_free: bool, classify: chat_reply.Classify = chat_reply.unclassified
) -> Reply:
    """Read a reply; raises UpstreamFault for an error inside a 200 (T74) and for verdicts that are missing.

    ``is_free``: the card asks for nothing, so that usage which nobody counts is no usage that is missing.
    """
    if chat_reply.error_in(raw):
        raise UpstreamFault(classify(raw))
    results = raw.get("results")
    if not isinstance(results, list) or len(results) != call.messages or not all(map(_is_verdict, results)):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_moderations"))
    usage = embeddings.parse_usage(raw.pop("usage", None))
    return Reply(
        body=raw,
        usage=usage or (Usage() if is_free else None),
        finish_reason=None,
        native_finish_reason=None,
        upstream_id=text_of(raw.get("id")),
        has_content=True,
        served_model=text_of(raw.get("model")),
    )


def _is_verdict(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("flagged"), bool)
