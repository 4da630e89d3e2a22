"""``:embedContent`` and ``:batchEmbedContents`` as clients of Google's API send them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage
from tokenhub.wire.embeddings import request as embeddings
from tokenhub.wire.gemini import native as gemini_native
from tokenhub.wire.gemini.frames import USAGE
from tokenhub.wire.gemini.surface import GeminiSurface
from tokenhub.wire.replies import Reply
from tokenhub.wire.surface import Rendered

ONE, BATCH = "embedContent", "batchEmbedContents"


class EmbedSurface(GeminiSurface):
    """Texts to vectors, one or many; every text travels inside as OpenAI's embeddings do."""

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        inside = request(body, self.model)
        call = embeddings.parse_call(inside, size_bytes, self.arrival.now_s)
        return replace(call, wire=Wire.GEMINI), inside

    def reply(self, reply: Reply) -> Rendered:
        if self.native:
            return super().reply(reply)
        vectors = [{"values": one["embedding"]} for one in reply.body["data"]]
        body = {"embedding": vectors[0]} if self.method == ONE else {"embeddings": vectors}
        return Rendered(orjson.dumps(body), USAGE)

    def usage(self, usage: Usage, cost: Mapping[str, Any], reply: Reply | None) -> Mapping[str, Any]:
        own = reply.body.get(USAGE) if self.native and reply is not None else None
        return gemini_native.usage(own, {"promptTokenCount": usage.prompt_total}, cost)


def request(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return the OpenAI embeddings request of a request for one or for many; raises InvalidRequest.

    What a text is for (``taskType``, ``title``) has no word there; the length of the vectors
    must be the same for all.
    """
    given = body.get("requests") if "requests" in body else [body]
    if not isinstance(given, list) or not given or not all(isinstance(one, Mapping) for one in given):
        raise InvalidRequest("requests must be a list of at least one object.", param="requests")
    lengths = [one.get("outputDimensionality") for one in given]
    if any(length != lengths[0] for length in lengths):
        raise InvalidRequest(
            "outputDimensionality must be the same in all requests.", param="requests[].outputDimensionality"
        )
    made = {name: body[name] for name in ("models", "provider", "session_id") if body.get(name) is not None}
    made |= {"model": model, "input": [_text(one, place) for place, one in enumerate(given)]}
    return made if lengths[0] is None else {**made, "dimensions": lengths[0]}


def _text(one: Mapping[str, Any], place: int) -> str:
    content = one.get("content")
    parts = content.get("parts") if isinstance(content, Mapping) else content
    found = parts if isinstance(parts, list) else [parts]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in found]
    if not all(isinstance(text, str) for text in texts) or not "".join(map(str, texts)):
        raise InvalidRequest(
            "Only texts can be embedded here, none of them empty.", param=f"requests[{place}].content.parts"
        )
    return "\n".join(map(str, texts))
