"""An OpenAI embeddings request as Gemini's batchEmbedContents, and its reply back."""

import math
from collections.abc import Mapping
from typing import Any

from tokenhub.call import Call
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage, count
from tokenhub.wire.chat.request import GATEWAY_FIELDS
from tokenhub.wire.embeddings import request as embeddings
from tokenhub.wire.embeddings.request import Limits
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.gemini import errors as gemini_errors
from tokenhub.wire.replies import Reply

LIMITS = Limits(inputs=100, token_lists=False, base64=False)
"""A batch takes 100 inputs (pydantic-ai's and google-genai 3.4.0's chunk size, 2026-11-22), texts only."""

_OURS = GATEWAY_FIELDS | {"prompt_cache_key"}
_READ = frozenset({"model", "input", "dimensions", "encoding_format"})
_UNNORMALISED = "gemini-embedding-001"
_FULL_DIMENSIONS = 3072


def request(body: Mapping[str, Any], upstream_id: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the upstream's body and the names of the fields that were left out; raises InvalidRequest."""
    shared: dict[str, Any] = {"model": f"models/{upstream_id}"}
    dimensions = body.get("dimensions")
    options = {} if dimensions is None else {"outputDimensionality": dimensions}
    requests = [
        {**shared, "content": {"parts": [{"text": text}]}, **options} for text in embeddings.check_inputs(body, LIMITS)
    ]
    dropped = tuple(name for name, value in body.items() if value is not None and name not in _READ)
    return {"requests": requests}, dropped


def native_request(body: Mapping[str, Any], upstream_id: str) -> dict[str, Any]:
    """Return a request in Google's own words for an upstream: each names the model that serves it. Raises InvalidRequest beyond a batch."""
    name = f"models/{upstream_id}"
    if "requests" not in body:
        return {**{key: value for key, value in body.items() if key not in _OURS}, "model": name}
    requests = body["requests"]
    if len(requests) > LIMITS.inputs:
        raise InvalidRequest(f"requests can hold at most {LIMITS.inputs} inputs for this model.", param="requests")
    return {"requests": [{**one, "model": name} for one in requests]}


def reply(raw: Mapping[str, Any], call: Call, upstream_id: str) -> Reply:
    """Read a batchEmbedContents reply; raises UpstreamFault. Older models report no usage: it is None then."""
    error = gemini_errors.parse_error(raw)
    if error is not None:
        raise UpstreamFault(gemini_errors.classify(error, None))
    found = raw.get("embeddings")
    vectors = [_values(one) for one in found] if isinstance(found, list) else []
    if upstream_id.startswith(_UNNORMALISED):
        # Only the full 3072 dimensions come normalised (ai.google.dev/gemini-api/docs/embeddings, 2026-11-22).
        vectors = [_normalised(vector) if len(vector) < _FULL_DIMENSIONS else vector for vector in vectors]
    return embeddings.build_reply(vectors, call, usage=parse_usage(raw.get("usageMetadata")))


def parse_usage(raw: object) -> Usage | None:
    """Read the usage of an embeddings reply: prompt tokens only."""
    prompt = count(raw.get("promptTokenCount")) if isinstance(raw, dict) else None
    return None if prompt is None else Usage(input=prompt)


def _values(embedding: Any) -> list[float]:
    values = embedding.get("values") if isinstance(embedding, dict) else None
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_embeddings"))
    return values


def _normalised(vector: list[float]) -> list[float]:
    """Return the vector at length 1, as cosine and dot product comparisons expect it."""
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else vector
