"""What a provider's reply says, read from its own bytes by its own documentation: nothing of TokenHub is in it.

Three dialects: OpenAI's chat completions, Anthropic's Messages, Google's generateContent;
each whole or as a stream. What comes out is what a client of an OpenAI-compatible gateway
must find, and the tokens that must be charged, in buckets that have a price each.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.assembler import Choice, assemble

BEFORE, AFTER = "before content", "after content"

_ENDS = {
    "openai": {"sensitive": "content_filter"},
    "anthropic": {"max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"},
    "google": {"MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter"},
}
_ENDS["google"] |= {"MODEL_ARMOR": "content_filter", "blocked": "content_filter"}
"""Where an end is not told as OpenAI tells it; all other native words mean stop (and OpenAI's mean themselves)."""

_FAILED_ENDS = {"OTHER", "MALFORMED_FUNCTION_CALL", "network_error", "insufficient_system_resource"}
"""Ends with which a provider says that it failed: no reply at all when nothing was said before."""


@dataclass
class Told:
    """What one reply says."""

    choices: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    """Text (or ``(image)``, ``(audio)``), reasoning, refusal, calls and finish reason of each choice."""
    call_ids: list[str] = field(default_factory=list)
    model: str | None = None
    counts: tuple[int, int, int, int, int] | None = None
    """Prompt, completion, total, cached, reasoning; None where the provider counted nothing."""
    buckets: dict[str, int] = field(default_factory=dict)
    """Tokens by the price they have."""
    explained: bool = False
    """The refusal is the provider's explanation, not what the model said."""
    failed: str = ""
    """``BEFORE`` or ``AFTER``: the reply is no reply, or breaks off."""

    @property
    def shows(self) -> bool:
        """Whether there is anything to see."""
        said = [(text, reasoning, calls) for text, reasoning, _, calls, _ in self.choices.values()]
        return any(map(any, said)) or (not self.explained and any(choice[2] for choice in self.choices.values()))

    @property
    def billable(self) -> bool:
        """The billing table: what shows nothing is free, unless it generated tokens and was not filtered."""
        last = self.choices[max(self.choices)][4] if self.choices else None
        return self.shows or bool(self.counts and self.counts[1] and last != "content_filter")


def arguments(text: str) -> Any:
    """Return a call's arguments as a client parses them; as they came where they are cut."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def seen(choice: Choice) -> tuple[Any, ...]:
    """Return what a client makes of one choice, in the order of ``Told.choices``."""
    calls = [(name, arguments(text)) for _, name, text in choice.calls]
    return choice.text, choice.reasoning, choice.refusal, calls, choice.finish


def read(dialect: str, body: bytes, *, stream: bool) -> Told:
    """Read a reply in one of the dialects."""
    return _READERS[dialect](body, stream)


# --- OpenAI


def whole_as_choice(choice: dict[str, Any]) -> Choice:
    """Return a whole reply's choice in the form in which streams are put together."""
    message = choice["message"]
    made = Choice(
        text=message.get("content") or "",
        reasoning=message.get("reasoning_content") or "",
        refusal=message.get("refusal") or "",
        thinking_blocks=message.get("thinking_blocks") or [],
        finish=choice["finish_reason"],
    )
    calls = [(call.get("id", ""), _function(call)) for call in message.get("tool_calls") or ()]
    if message.get("function_call"):
        calls.append(("", message["function_call"]))
    for place, (id, function) in enumerate(calls):
        made.tools[place] = {"id": id, "name": function["name"], "arguments": function["arguments"]}
    return made


def _function(call: dict[str, Any]) -> dict[str, str]:
    """Return what is called: a function with arguments, or a custom tool with a text."""
    if "custom" in call:
        return {"name": call["custom"]["name"], "arguments": call["custom"]["input"]}
    return dict(call["function"])


def _openai(body: bytes, stream: bool) -> Told:
    if not stream:
        raw = json.loads(body)
        if raw.get("error"):
            return Told(failed=BEFORE)
        choices = {one.get("index", place): whole_as_choice(one) for place, one in enumerate(raw["choices"])}
        audio = any(one["message"].get("audio") for one in raw["choices"])
        usage = raw.get("usage") or raw["choices"][0].get("usage")
        told = _openai_told(choices, usage, raw.get("model"))
        if audio:
            told.choices = {index: ("(audio)", *one[1:]) for index, one in told.choices.items()}
        return told
    made = assemble(body)
    model = next((chunk["model"] for chunk in made.chunks if chunk.get("model")), None)
    told = _openai_told(made.choices, made.usage, model)
    if made.errors or b"\nevent: error" in b"\n" + body or not made.done:
        told.failed = AFTER if told.shows else BEFORE
    return told


def _openai_told(choices: dict[int, Choice], usage: dict[str, Any] | None, model: str | None) -> Told:
    ends = _ENDS["openai"]
    for choice in choices.values():
        choice.finish = ends.get(choice.finish or "", choice.finish)
    told = Told({index: seen(choice) for index, choice in choices.items()}, model=model)
    told.call_ids = [id for choice in choices.values() for id, _, _ in choice.calls]
    if any(choice.finish in _FAILED_ENDS for choice in choices.values()):
        told.failed = AFTER if told.shows else BEFORE
    if usage:
        told.counts, told.buckets = openai_counts(usage), openai_buckets(usage)
    return told


def _detail(usage: dict[str, Any], side: str, name: str) -> int:
    return (usage.get(f"{side}_tokens_details") or {}).get(name) or 0


def _openai_cached(usage: dict[str, Any]) -> int:
    return (
        _detail(usage, "prompt", "cached_tokens")
        or usage.get("prompt_cache_hit_tokens")
        or usage.get("cached_tokens")
        or 0
    )


def openai_counts(usage: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """Return what a client reads of a usage, by every OpenAI-compatible provider's own names."""
    reasoning = _detail(usage, "completion", "reasoning_tokens")
    return (
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["total_tokens"],
        _openai_cached(usage),
        reasoning,
    )


def openai_buckets(usage: dict[str, Any]) -> dict[str, int]:
    prompt, completion, _, cached, reasoning = openai_counts(usage)
    audio, spoken = _detail(usage, "prompt", "audio_tokens"), _detail(usage, "completion", "audio_tokens")
    image = _detail(usage, "prompt", "image_tokens")
    written = _detail(usage, "prompt", "cache_write_tokens")
    return {
        "input": prompt - cached - written - audio - image,
        "cached_input": cached,
        "cache_write": written,
        "audio_input": audio,
        "image_input": image,
        "output_thinking" if reasoning else "output": completion - spoken,
        "unknown": spoken,
    }


# --- Anthropic


def _anthropic(body: bytes, stream: bool) -> Told:
    message = anthropic_message(body) if stream else json.loads(body)
    if message.get("type") == "error":
        return Told(failed=BEFORE)
    blocks = message["content"]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    thinking = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    calls = [block for block in blocks if block["type"] == "tool_use"]
    end = _ENDS["anthropic"].get(message.get("stop_reason") or "", "stop")
    if [call["name"] for call in calls] == ["json_output"]:  # a schema, said as a tool to models without schemas
        text, calls, end = json.dumps(calls[0]["input"], separators=(",", ":")), [], "stop"
    refusal = (message.get("stop_details") or {}).get("explanation") or ""
    made = text, thinking, refusal, [(call["name"], call["input"]) for call in calls], end
    told = Told({0: made}, model=message["model"], explained=True)
    told.call_ids = [call["id"] for call in calls]
    told.counts, told.buckets = _anthropic_counts(message["usage"])
    if message.get("error"):
        told.failed = AFTER if told.shows else BEFORE
    return told


def anthropic_message(stream: bytes) -> dict[str, Any]:
    """Put an Anthropic stream together, by its own documentation."""
    message: dict[str, Any] = {}
    joined: dict[int, str] = {}
    for line in stream.decode().splitlines():
        if not line.startswith("data:"):
            continue
        event = json.loads(line[5:])
        if event["type"] == "message_start":
            message = event["message"]
        elif event["type"] == "content_block_start":
            message["content"].append(dict(event["content_block"]))
            joined[event["index"]] = ""
        elif event["type"] == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            for name in ("text", "thinking", "signature"):
                if name in delta:
                    block[name] = (block.get(name) or "") + delta[name]
            joined[event["index"]] += delta.get("partial_json", "")
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
        elif event["type"] == "error":
            message = message or {"type": "error"}
            message["error"] = event["error"]
    for index, text in joined.items():
        if text:
            message["content"][index]["input"] = json.loads(text)
    return message


def _anthropic_counts(usage: dict[str, Any]) -> tuple[tuple[int, int, int, int, int], dict[str, int]]:
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    prompt, output = usage["input_tokens"] + read + written, usage["output_tokens"]
    buckets = {
        "input": usage["input_tokens"],
        "cached_input": read,
        "cache_write": written - hour,
        "cache_write_1h": hour,
        "output_thinking" if thought else "output": output,
    }
    return (prompt, output, prompt + output, read, thought), buckets


# --- Google


def google_events(body: bytes) -> list[dict[str, Any]]:
    """Return the events of a Gemini stream, or the one object of a whole reply."""
    text = body.decode()
    if text.lstrip().startswith(("{", "[")):
        found = json.loads(text)
        return found if isinstance(found, list) else [found]
    return [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:")]


def _google(body: bytes, stream: bool) -> Told:
    events = google_events(body)
    read: dict[int, list[Any]] = {}
    for event in events:
        for place, candidate in enumerate(event.get("candidates", ())):
            _google_candidate(read.setdefault(candidate.get("index", place), ["", "", "", [], None, ""]), candidate)
    if not read and any("promptFeedback" in event for event in events):
        read[0] = ["", "", "", [], "blocked", ""]
    told = Told(model=next((event["modelVersion"] for event in events if "modelVersion" in event), None))
    for index, (text, thoughts, refusal, calls, native, shown) in read.items():
        end = _ENDS["google"].get(native, "stop")
        told.choices[index] = (
            text or shown,
            thoughts,
            refusal,
            calls,
            "tool_calls" if calls and native == "STOP" else end,
        )
    usage = next((event["usageMetadata"] for event in reversed(events) if event.get("usageMetadata")), None)
    if usage:
        told.counts, told.buckets = _google_counts(usage)
    broken = b'"error"' in body and any(line.startswith(b"{") for line in body.splitlines())
    if broken or any("error" in event for event in events) or any(one[4] in _FAILED_ENDS for one in read.values()):
        told.failed = AFTER if told.shows else BEFORE
    return told


def _google_candidate(choice: list[Any], candidate: dict[str, Any]) -> None:
    for part in (candidate.get("content") or {}).get("parts", ()):
        choice[1 if part.get("thought") else 0] += part.get("text", "")
        if part.get("functionCall"):
            choice[3].append((part["functionCall"].get("name"), part["functionCall"].get("args", {})))
        inline = part.get("inlineData") or part.get("inline_data")
        if inline:
            choice[5] = f"({(inline.get('mimeType') or inline['mime_type']).partition('/')[0]})"
    choice[4] = candidate.get("finishReason", choice[4])


def _google_counts(usage: dict[str, Any]) -> tuple[tuple[int, int, int, int, int], dict[str, int]]:
    prompt = (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0)
    thought = usage.get("thoughtsTokenCount") or 0
    answer = usage.get("candidatesTokenCount") or 0
    cached = usage.get("cachedContentTokenCount") or 0
    by_kind = _kinds(usage, "promptTokensDetails")
    kept = _kinds(usage, "cacheTokensDetails")
    fresh = {kind: by_kind.get(kind, 0) - kept.get(kind, 0) for kind in ("AUDIO", "IMAGE")}
    drawn = _kinds(usage, "candidatesTokensDetails").get("IMAGE", 0)
    buckets = {
        "input": prompt - cached - sum(fresh.values()),
        "cached_input": cached,
        "audio_input": fresh["AUDIO"],
        "image_input": fresh["IMAGE"],
        "image_output": drawn,
        "output_thinking" if thought else "output": answer + thought - drawn,
    }
    return (prompt, answer + thought, prompt + answer + thought, cached, thought), buckets


def _kinds(usage: dict[str, Any], name: str) -> dict[str, int]:
    return {str(one.get("modality")): one.get("tokenCount", 0) for one in usage.get(name) or ()}


_READERS = {"openai": _openai, "anthropic": _anthropic, "google": _google}
