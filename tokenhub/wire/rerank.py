"""Rerank: a query and documents in, the documents' scores out. Cohere's shape, which Jina and most servers took over.

What differs between providers is where results and usage stand (Cohere's ``meta``, SiliconFlow's
``meta.tokens``, Jina's, Zhipu's and llama.cpp's ``usage``, DashScope's ``output``; their API
references, 2026-11). Clients of both shapes find what they read: ``results`` sorted by score,
``usage``, and ``meta`` where the upstream sent one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson

from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Units, Usage, count
from tokenhub.wire import estimate
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat import request as chat
from tokenhub.wire.chat.parts import text_of
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.openai_surfaces import OpenAISurface
from tokenhub.wire.replies import Reply
from tokenhub.wire.surface import Arrival, Rendered

MAX_DOCUMENTS = 10_000
"""Cohere's own limit in one request (docs.cohere.com, rerank, 2026-11)."""
CHUNK_BYTES = 256
"""A long document is ranked in pieces, each beside the query; no provider's piece is smaller than this."""
PIECE_TOKENS = 128
"""Put around a query and a piece, at most: separators, an instruction, up to 80 tokens of overlap (SiliconFlow, 2026-11)."""
SEARCH_DOCUMENTS = 100
SEARCH_TOKENS = 500
"""Cohere counts a search for each 100 documents; one of over 500 tokens counts as several (cohere.com/pricing, 2026-11)."""


class RerankSurface(OpenAISurface):
    """``/v1/rerank``, and Cohere's ``/v2/rerank``."""

    wire: ClassVar[Wire] = Wire.RERANK

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self._documents: Sequence[Any] = ()
        self._top: int | None = None
        self._shows: bool | None = None

    def call(self, body: dict[str, Any], _size_bytes: int) -> tuple[Call, dict[str, Any]]:
        call = parse_call(body, self.arrival.now_s)
        self._documents, self._top, self._shows = body["documents"], body.get("top_n"), body.get("return_documents")
        return call, body

    def reply(self, reply: Reply) -> Rendered:
        """Render the best ``top_n``, with the documents exactly if they were asked for."""
        results = [self._shown(one) for one in reply.body["results"][: self._top or None]]
        return Rendered(orjson.dumps({**reply.body, "results": results}), "usage")

    def _shown(self, result: dict[str, Any]) -> dict[str, Any]:
        if self._shows is None:
            return result
        plain = {name: value for name, value in result.items() if name != "document"}
        if not self._shows:
            return plain
        own = self._documents[result["index"]]
        return {**plain, "document": {"text": own} if isinstance(own, str) else own}

    def usage(self, usage: Usage, cost: Mapping[str, Any], _reply: Reply | None) -> Mapping[str, Any]:
        found = usage.units_of("search")
        searches = {"search_units": found} if found else {}
        return {"prompt_tokens": usage.prompt_total, "total_tokens": usage.total, **searches, **cost}


# Requests ----------------------------------------------------------------------------------------


def parse_call(body: Mapping[str, Any], now_s: int = 0) -> Call:
    """Return the facts of a rerank request; raises InvalidRequest that names the field at fault.

    ``messages`` counts the documents. ``input_bytes`` bounds what a provider can count: the query
    once for every piece of every document, because a model reads the two together.
    """
    chat.refuse_control_fields(body)
    model = chat.parse_model(body)
    query, documents = body.get("query"), body.get("documents")
    if not query or not isinstance(query, str | dict):
        raise InvalidRequest("query must be a text.", param="query")
    if not isinstance(documents, list) or not documents or not all(map(_is_document, documents)):
        raise InvalidRequest("documents must be a list of texts or of objects, not empty.", param="documents")
    if len(documents) > MAX_DOCUMENTS:
        raise InvalidRequest(f"documents can hold at most {MAX_DOCUMENTS} documents.", param="documents")
    top, shows = body.get("top_n"), body.get("return_documents")
    if top is not None and not (type(top) is int and 0 <= top <= 2**31 - 1):
        raise InvalidRequest("top_n must be an integer, not negative.", param="top_n")
    if shows is not None and not isinstance(shows, bool):
        raise InvalidRequest("return_documents must be true or false.", param="return_documents")
    sizes = [_size(document) for document in documents]
    pieces = sum(1 + size // CHUNK_BYTES for size in sizes)
    searched = sum(1 + size // SEARCH_TOKENS for size in sizes)
    return Call(
        capability=Capability.RERANK,
        model=model,
        wire=Wire.RERANK,
        input_bytes=sum(sizes) + pieces * (_size(query) + PIECE_TOKENS),
        messages=len(documents),
        units=(Units("search", -(-searched // SEARCH_DOCUMENTS)),),
        tokens_estimate=sum(_tokens(_plain(one)) for one in documents) + len(documents) * _tokens(query),
        created_s=now_s,
    )


def _is_document(entry: Any) -> bool:
    return isinstance(entry, str) or (isinstance(entry, dict) and bool(entry))


def _size(value: Any) -> int:
    return len(value.encode("utf-8", "replace")) if isinstance(value, str) else len(orjson.dumps(value))


def _tokens(value: Any) -> int:
    return estimate.of_text(value) if isinstance(value, str) else estimate.of_bytes(_size(value))


def request(body: Mapping[str, Any], upstream_id: str, most_documents: int) -> dict[str, Any]:
    """Return the body for an upstream of Cohere's shape; raises InvalidRequest beyond its limit.

    An object that is only a text is sent as that text, which every provider takes.
    """
    documents = body["documents"]
    if len(documents) > most_documents:
        raise InvalidRequest(
            f"documents can hold at most {most_documents} documents for this model; this request has {len(documents)}.",
            param="documents",
        )
    sent = {name: value for name, value in chat.outgoing(body).items() if value is not None}
    if not sent.get("top_n", 1):
        del sent["top_n"]
    return {**sent, "model": upstream_id, "documents": [_plain(document) for document in documents]}


def _plain(document: Any) -> Any:
    if isinstance(document, dict) and document.keys() == {"text"} and isinstance(document["text"], str):
        return document["text"]
    return document


_PARAMETERS = ("top_n", "return_documents", "instruct")
"""What DashScope takes beside query and documents (its text rerank API, 2026-03)."""


def nested(sent: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a flat body in DashScope's own form, and the names of the fields that it has no place for."""
    parameters = {name: sent[name] for name in _PARAMETERS if name in sent}
    left = sent.keys() - {"model", "query", "documents", *_PARAMETERS}
    inputs = {"query": sent["query"], "documents": sent["documents"]}
    return {"model": sent["model"], "input": inputs, "parameters": parameters}, tuple(sorted(left))


# Replies -----------------------------------------------------------------------------------------


def reply(
    raw: dict[str, Any], call: Call, *, by_search: bool, classify: chat_reply.Classify = chat_reply.unclassified
) -> Reply:
    """Read a reply of any of the shapes; raises UpstreamFault for an error inside a 200 (T74) and for results that are none.

    ``by_search``: the card prices searches; where none are told, the most they can be is the estimate. What nobody
    counts of tokens is estimated from the request.
    """
    output = raw.get("output")
    results = _results(output if isinstance(output, dict) else raw)
    if results is None and chat_reply.error_in(raw):
        raise UpstreamFault(classify(raw))
    if not results or not all(_is_result(one, call.messages) for one in results):
        raise _malformed()
    if len({one["index"] for one in results}) != len(results):
        raise _malformed()
    usage, model = parse_usage(raw), text_of(raw.get("model"))
    estimated = usage is None or (by_search and not usage.units)
    if estimated:
        read = usage.input if usage else 0 if by_search else call.tokens_estimate
        usage = Usage(input=read, units=call.units if by_search else ())
    id = text_of(raw.get("id")) or text_of(raw.get("request_id"))
    body: dict[str, Any] = {"id": id} if id else {}
    body |= {"object": "list", "model": model or call.model}
    body["results"] = sorted(results, key=lambda one: -one["relevance_score"])
    if isinstance(raw.get("meta"), dict):
        body["meta"] = raw["meta"]
    return Reply(body, usage, None, None, id, True, served_model=model, estimated=estimated)


def _results(holder: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the results, each with its score under Cohere's name; None where there are none."""
    found = holder.get("results")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        return None
    return [{"relevance_score": one["score"], **_without(one, "score")} if "score" in one and "relevance_score" not in one else one for one in found]  # fmt: skip


def _without(one: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key != name}


def _is_result(one: Mapping[str, Any], documents: int) -> bool:
    index, score = one.get("index"), one.get("relevance_score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        return False
    return type(index) is int and 0 <= index < documents


def _malformed() -> UpstreamFault:
    return UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_rerank"))


def parse_usage(raw: Mapping[str, Any]) -> Usage | None:
    """Read tokens and searches from wherever a provider puts them; None when it tells neither, or nonsense (T9)."""
    usage, meta = _object(raw, "usage"), _object(raw, "meta")
    tokens = {**_object(raw, "tokens"), **_object(meta, "tokens")}
    billed = _object(meta, "billed_units")
    searches = _first(usage.get("search_units"), billed.get("search_units"))
    stated = (
        *(usage.get("total_tokens"), usage.get("prompt_tokens"), usage.get("input_tokens")),
        *(tokens.get("input_tokens"), billed.get("total_tokens"), billed.get("input_tokens")),
    )
    read = _first(*stated)
    if read is None and searches is None:
        return None
    made = _first(tokens.get("output_tokens")) if not usage else None
    units = (Units("search", searches),) if searches is not None else ()
    return Usage(input=(read or 0) + (made or 0), units=units)


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, dict) else {}


def _first(*values: Any) -> int | None:
    """Return the first count; Cohere writes whole numbers as floats."""
    whole = (int(one) if isinstance(one, float) and one.is_integer() else one for one in values)
    return next((found for one in whole if (found := count(one)) is not None), None)
