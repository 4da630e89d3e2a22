"""A whole Gemini reply in OpenAI's form."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenhub.call import Call
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.gemini import choice as gemini_choice
from tokenhub.wire.gemini import common as gemini
from tokenhub.wire.gemini import errors as gemini_errors
from tokenhub.wire.gemini.arguments import MalformedArguments
from tokenhub.wire.gemini.choice import Choice
from tokenhub.wire.replies import Reply


def join(deltas: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the message that a choice's deltas make."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    texts: dict[str, list[str]] = {}
    for delta in deltas:
        for name, value in delta.items():
            if name in ("content", "reasoning_content"):
                message.setdefault(name)
                texts.setdefault(name, []).append(value)
            elif name == "images":
                message.setdefault(name, []).extend(value)
            elif name == "tool_calls":
                _join_calls(message.setdefault(name, []), value)
            else:
                message[name] = value
    return message | {name: "".join(pieces) for name, pieces in texts.items()}


def _join_calls(calls: list[dict[str, Any]], pieces: Iterable[Mapping[str, Any]]) -> None:
    for piece in pieces:
        if piece["index"] == len(calls):
            calls.append({name: value for name, value in piece.items() if name != "index"})
        else:
            calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]


@dataclass(frozen=True, slots=True)
class _Read:
    """One candidate, read to its end."""

    choice: Choice
    message: dict[str, Any]
    logprobs: dict[str, Any] | None

    def render(self) -> dict[str, Any]:
        return {
            "index": self.choice.index,
            "message": self.message,
            "logprobs": self.logprobs,
            "finish_reason": self.choice.finish_reason,
        }


def reply(raw: Mapping[str, Any], call: Call) -> Reply:
    """Read a whole GenerateContentResponse.

    Raises UpstreamFault for an error inside a 200 (T74), for a reply without candidates that
    blames no prompt, and for one whose finish reason is a failure with nothing to show.
    """
    error = gemini_errors.parse_error(raw)
    if error is not None:
        raise UpstreamFault(gemini_errors.classify(error, None))
    upstream_id, model = gemini_choice.response_id(raw), raw.get("modelVersion")
    ids = gemini_choice.own_id(upstream_id)
    read = _read_all(raw, ids, call)
    first = read[0].choice
    served = model if isinstance(model, str) and model else None
    return Reply(
        body={
            "id": f"chatcmpl-{ids}",
            "object": "chat.completion",
            "created": call.created_s,
            "model": served or call.model,
            "choices": [one.render() for one in read],
        },
        usage=gemini.parse_usage(raw.get("usageMetadata")),
        finish_reason=first.finish_reason,
        native_finish_reason=first.native,
        upstream_id=upstream_id,
        has_content=any(one.choice.has_content for one in read),
        output_bytes=sum(chat_reply.text_bytes(one.message) for one in read),
        served_model=served,
    )


def _read_all(raw: Mapping[str, Any], ids: str, call: Call) -> list[_Read]:
    candidates, reason = raw.get("candidates"), gemini_choice.blocked(raw)
    found = [one for one in candidates if isinstance(one, dict)] if isinstance(candidates, list) else []
    read = [_read(candidate, position, ids, call) for position, candidate in enumerate(found)]
    if not read and reason is not None:
        read = [_Read(gemini_choice.blocked_choice(reason, ids), join(()), None)]
    failed = gemini_choice.failure(one.choice for one in read)
    if failed is not None:
        raise UpstreamFault(failed)
    return sorted(read, key=lambda one: one.choice.index)


def _read(candidate: Mapping[str, Any], position: int, ids: str, call: Call) -> _Read:
    choice = Choice(gemini_choice.index_of(candidate, position), ids, one_call=call.one_tool_call)
    try:
        message = join(choice.take(candidate))
    except MalformedArguments:
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_arguments")) from None
    return _Read(choice, message, gemini_choice.logprobs_of(candidate))
