"""OpenAI's legacy text completions: a prompt goes on, no conversation.

Bodies and replies pass as they are, but for usage: nothing translates a prompt into a
conversation and back without changing what the model sees, so only upstreams that have this
API serve it. https://platform.openai.com/docs/api-reference/completions (2026-11-22).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import HubError, InvalidRequest
from tokenhub.wire import sse
from tokenhub.wire.chat import frames as chat_frames
from tokenhub.wire.chat import request as chat
from tokenhub.wire.chat.parts import choices_of, text_of
from tokenhub.wire.chat.reply import (
    FAILED_FINISHES,
    Classify,
    error_in,
    finish_reason,
    take_usage,
    unclassified,
)
from tokenhub.wire.chat.request import Rule
from tokenhub.wire.chat.usage import parse_usage
from tokenhub.wire.embeddings.request import is_tokens
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.openai_surfaces import OpenAISurface
from tokenhub.wire.replies import Reply
from tokenhub.wire.surface import End
from tokenhub.wire.words import code_word

MAX_PROMPTS = 2048
_RULES: Mapping[str, Rule] = {
    **{
        name: chat.RULES[name]
        for name in (
            *("frequency_penalty", "logit_bias", "models", "n", "presence_penalty", "provider", "seed"),
            *("session_id", "stop", "stream", "stream_options", "temperature", "top_p"),
        )
    },
    "echo": Rule(lambda value: isinstance(value, bool), "true or false"),
    "logprobs": Rule(lambda value: type(value) is int and 0 <= value <= 20, "an integer from 0 to 20"),
    "max_tokens": Rule(
        lambda value: type(value) is int and 0 <= value <= chat.MAX_OUTPUT, f"an integer from 0 to {chat.MAX_OUTPUT}"
    ),
    "suffix": Rule(lambda value: isinstance(value, str), "a string"),
    "user": Rule(lambda value: isinstance(value, str), "a string"),
}


class CompletionsSurface(OpenAISurface):
    """``/v1/completions``."""

    wire: ClassVar[Wire] = Wire.COMPLETIONS

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        call = parse_call(body, size_bytes, self.arrival.now_s)
        self.name(call)
        return call, {"model": call.model, "input": [body.get("prompt"), body.get("suffix")]}

    def ending(self, held: bytes, end: End) -> bytes:
        if self._include_usage:
            told = end.facts.upstream_id or end.request_id, end.facts.created or self._created
            usage = self.usage(end.usage, end.cost, None)
            held += _frame(*told, end.facts.served_model or self._model, {"choices": [], "usage": usage})
        return held + sse.DONE

    def error_frame(self, error: HubError, request_id: str) -> bytes:
        choice = {"index": 0, "text": "", "logprobs": None, "finish_reason": "error"}
        said = chat_frames.render_error(error, request_id)
        return _frame(request_id, self._created, self._model, {**said, "choices": [choice]})


def _frame(id: str, created: int, model: str, members: Mapping[str, Any]) -> bytes:
    head = {"id": id, "object": "text_completion", "created": created, "model": model}
    return sse.encode(orjson.dumps({**head, **members}))


def parse_call(body: Mapping[str, Any], size_bytes: int, now_s: int = 0) -> Call:
    """Return the facts of a completions request; raises InvalidRequest that names the field at fault.

    Every prompt is answered ``n`` times, so that many choices are asked for.
    """
    chat.refuse_control_fields(body)
    model = chat.parse_model(body)
    for name, value in body.items():
        rule = _RULES.get(name)
        if rule is not None and value is not None and not rule.holds(value):
            raise InvalidRequest(f"{name} must be {rule.words}.", param=name)
    prompts = prompts_of(body)
    choices = (body.get("n") or 1) * len(prompts)
    stream = bool(body.get("stream"))
    return Call(
        capability=Capability.CHAT,
        model=model,
        wire=Wire.COMPLETIONS,
        stream=stream,
        include_usage=stream and chat.wants_usage(body),
        input_bytes=size_bytes,
        messages=len(prompts),
        choices=choices,
        max_output=body.get("max_tokens"),
        created_s=now_s,
    )


def prompts_of(body: Mapping[str, Any]) -> list[Any]:
    """Return the prompts: texts, or lists of token numbers; none at all is an empty one. Raises InvalidRequest."""
    given = body.get("prompt")
    if given is None or isinstance(given, str) or is_tokens(given):
        return [given]
    if not isinstance(given, list) or not given or len(given) > MAX_PROMPTS:
        raise InvalidRequest(
            f"prompt must be a text, a list of token numbers, or a list of at most {MAX_PROMPTS} of either.",
            param="prompt",
        )
    texts = isinstance(given[0], str)
    if not all(isinstance(one, str) if texts else is_tokens(one) for one in given):
        raise InvalidRequest("prompt must hold texts or lists of token numbers, all alike.", param="prompt")
    return given


def read_reply(raw: dict[str, Any], *, classify: Classify = unclassified) -> Reply:
    """Read a whole reply, which becomes the reply's body without its usage; raises UpstreamFault."""
    if error_in(raw):
        raise UpstreamFault(classify(raw))
    choices = choices_of(raw)
    if not choices or not all(isinstance(choice.get("text"), str) for choice in choices):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="no_choices"))
    usage = parse_usage(take_usage(raw))
    native = None
    for choice in choices:
        native = text_of(choice.get("finish_reason"))
        if native in FAILED_FINISHES:
            raise UpstreamFault(Failure(FaultKind.SERVER, code=code_word(native)))
    return Reply(
        body=raw,
        usage=usage,
        finish_reason=finish_reason(native),
        native_finish_reason=native,
        upstream_id=text_of(raw.get("id")),
        has_content=any(choice["text"] for choice in choices),
        output_bytes=sum(size_of(choice) for choice in choices) if usage is None else 0,
        served_model=text_of(raw.get("model")),
    )


def size_of(choice: Mapping[str, Any]) -> int:
    """Return the size of a choice's text in bytes, for an estimate."""
    text = choice.get("text")
    return len(text.encode("utf-8", "replace")) if isinstance(text, str) else 0
