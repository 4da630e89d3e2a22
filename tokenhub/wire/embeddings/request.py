"""OpenAI embeddings: what a request says, and a reply in the form the client asked for.

Vectors travel as JSON numbers or as base64 of little-endian float32, which is what the
official SDKs ask for by default. Where an upstream gives the other form it is converted.
"""

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage, count
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat import request as chat
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.replies import Reply

MAX_INPUTS = 2048
"""OpenAI's own limit of inputs in one request (platform.openai.com/docs/api-reference/embeddings)."""
MAX_DIMENSIONS = 65_536
MAX_TOKEN_ID = 2**31 - 1
ENCODINGS = ("float", "base64")


@dataclass(frozen=True, slots=True)
class Limits:
    """How an upstream deviates from OpenAI's embeddings."""

    inputs: int = MAX_INPUTS
    """Inputs in one request; more are refused, not split: a split request would be several charges."""
    token_lists: bool = True
    """Takes lists of token numbers as input."""
    base64: bool = True
    """Knows ``encoding_format``; where it does not, the field is left out and the reply converted."""


# Requests ----------------------------------------------------------------------------------------


def parse_call(body: Mapping[str, Any], size_bytes: int, now_s: int = 0) -> Call:
    """Return the facts of an embeddings request; raises InvalidRequest that names the field at fault (T51).

    ``messages`` counts the inputs. ``size_bytes`` is the size of the body as it came.
    """
    chat.refuse_control_fields(body)
    model = chat.parse_model(body)
    inputs = inputs_of(body)
    encoding, dimensions, user = body.get("encoding_format"), body.get("dimensions"), body.get("user")
    if encoding is not None and encoding not in ENCODINGS:
        raise InvalidRequest("encoding_format must be float or base64.", param="encoding_format")
    if dimensions is not None and not (type(dimensions) is int and 1 <= dimensions <= MAX_DIMENSIONS):
        raise InvalidRequest(f"dimensions must be an integer from 1 to {MAX_DIMENSIONS}.", param="dimensions")
    if user is not None and not isinstance(user, str):
        raise InvalidRequest("user must be a string.", param="user")
    return Call(
        capability=Capability.EMBEDDINGS,
        model=model,
        wire=Wire.EMBEDDINGS,
        input_bytes=size_bytes,
        messages=len(inputs),
        encoding=encoding or "float",
        created_s=now_s,
    )


def inputs_of(body: Mapping[str, Any]) -> list[str | list[int]]:
    """Return the inputs as a list of texts or a list of token lists; raises InvalidRequest."""
    given = body.get("input")
    inputs = [given] if isinstance(given, str) or is_tokens(given) else given
    if not isinstance(inputs, list) or not inputs:
        raise InvalidRequest(
            "input must be a text, a list of texts, a list of token numbers or a list of such lists.", param="input"
        )
    if len(inputs) > MAX_INPUTS:
        raise InvalidRequest(
            f"input can hold at most {MAX_INPUTS} inputs; this request has {len(inputs)}.", param="input"
        )
    texts = isinstance(inputs[0], str)
    for position, entry in enumerate(inputs):
        if not (isinstance(entry, str) and bool(entry) if texts else is_tokens(entry)):
            raise InvalidRequest(
                f"input[{position}] must be a text or a list of token numbers, not empty, all inputs alike.",
                param="input",
            )
    return inputs


def is_tokens(value: Any) -> bool:
    """Return whether a value is a non-empty list of token numbers; a bool is none."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(token) is int and 0 <= token <= MAX_TOKEN_ID for token in value)
    )


def request(body: Mapping[str, Any], upstream_id: str, limits: Limits | None = None) -> dict[str, Any]:
    """Return the body for an upstream that speaks OpenAI's embeddings; raises InvalidRequest beyond its limits."""
    limits = limits or Limits()
    check_inputs(body, limits)
    sent = {name: value for name, value in chat.outgoing(body).items() if value is not None}
    if not limits.base64:
        sent.pop("encoding_format", None)
    return {**sent, "model": upstream_id}


def check_inputs(body: Mapping[str, Any], limits: Limits) -> list[str | list[int]]:
    """Return the inputs if this upstream takes them; raises InvalidRequest."""
    inputs = inputs_of(body)
    if len(inputs) > limits.inputs:
        raise InvalidRequest(
            f"input can hold at most {limits.inputs} inputs for this model; this request has {len(inputs)}.",
            param="input",
        )
    if not limits.token_lists and not isinstance(inputs[0], str):
        raise InvalidRequest("input must be text for this model: its provider takes no token numbers.", param="input")
    return inputs


# Replies -----------------------------------------------------------------------------------------


def reply(raw: Mapping[str, Any], call: Call, *, classify: chat_reply.Classify = chat_reply.unclassified) -> Reply:
    """Read a reply in OpenAI's form, each vector in the form the client asked for.

    Raises UpstreamFault for an error inside a 200 (T74), for a vector that is none and for
    another number of vectors than of inputs.
    """
    if chat_reply.error_in(raw):
        raise UpstreamFault(classify(dict(raw)))
    data = raw.get("data")
    entries = data if isinstance(data, list) else []
    if not all(isinstance(entry, dict) for entry in entries):
        raise _malformed()
    entries = sorted(entries, key=_index)
    model, upstream_id = raw.get("model"), raw.get("id")
    return build_reply(
        (entry.get("embedding") for entry in entries),
        call,
        usage=parse_usage(raw.get("usage")),
        served_model=model if isinstance(model, str) and model else None,
        upstream_id=upstream_id if isinstance(upstream_id, str) else None,
    )


def build_reply(
    vectors: Iterable[Any],
    call: Call,
    *,
    usage: Usage | None,
    served_model: str | None = None,
    upstream_id: str | None = None,
) -> Reply:
    """Return the reply that carries these vectors, in the order of their inputs."""
    data = [
        {"object": "embedding", "index": index, "embedding": encode(vector, call.encoding or "float")}
        for index, vector in enumerate(vectors)
    ]
    if len(data) != call.messages:
        raise _malformed()
    return Reply(
        body={"object": "list", "data": data, "model": served_model or call.model},
        usage=usage,
        finish_reason=None,
        native_finish_reason=None,
        upstream_id=upstream_id,
        has_content=bool(data),
        served_model=served_model,
    )


def _index(entry: Mapping[str, Any]) -> int:
    index = entry.get("index")
    if type(index) is not int:
        raise _malformed()
    return index


def _malformed() -> UpstreamFault:
    return UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_embeddings"))


def parse_usage(raw: object) -> Usage | None:
    """Read an embeddings usage; None when it is absent or makes no sense (T9).

    Only ``total_tokens`` may be there (DashScope's native form). More in total than in the
    prompt is counted as *unknown*.
    """
    if not isinstance(raw, dict):
        return None
    total = raw.get("total_tokens")
    given = raw.get("prompt_tokens", total)
    prompt, whole = count(given), count(given if total is None else total)
    if prompt is None or whole is None or whole < prompt:
        return None
    return Usage(input=prompt, unknown=whole - prompt)


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return the ``usage`` of an embeddings reply: there is no output to count."""
    return {"prompt_tokens": usage.prompt_total, "total_tokens": usage.total}


# Vectors -----------------------------------------------------------------------------------------


_NUMBERS = frozenset({float, int})


def encode(vector: Any, encoding: str) -> str | list[float]:
    """Return a vector, given as numbers or as base64, in one of the two forms; raises UpstreamFault."""
    if isinstance(vector, str) and vector:
        return vector if encoding == "base64" else from_base64(vector)
    if isinstance(vector, list) and vector and _NUMBERS.issuperset(map(type, vector)):
        return vector if encoding == "float" else to_base64(vector)
    raise _malformed()


def to_base64(numbers: Iterable[float]) -> str:
    """Return numbers as base64 of little-endian float32; raises UpstreamFault for what is no finite float32."""
    try:
        packed = array("f", numbers)
    except (TypeError, OverflowError):
        raise _malformed() from None
    return base64.b64encode(_little_endian(_finite(packed)).tobytes()).decode()


def from_base64(text: str) -> list[float]:
    """Return the numbers in base64 of little-endian float32; raises UpstreamFault."""
    packed = array("f")
    try:
        packed.frombytes(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        raise _malformed() from None
    return _finite(_little_endian(packed)).tolist()


def _finite(packed: "array[float]") -> "array[float]":
    if not all(map(math.isfinite, packed)):
        raise _malformed()
    return packed


def _little_endian(packed: "array[float]") -> "array[float]":
    if sys.byteorder == "big":
        packed.byteswap()
    return packed
