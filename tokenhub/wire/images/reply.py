"""OpenAI's image replies: whole and streamed, their usage, and how an upstream's become ours."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from tokenhub.call import Call
from tokenhub.usage import Units, Usage, count, units_to_data
from tokenhub.wire import estimate, json_text, sse
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat.reply import Classify
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.images import request as images
from tokenhub.wire.replies import Reply, StreamFacts

MAX_FRAME_BYTES = 48 * 1024 * 1024
"""A whole picture stands in one frame: 3840x2160 as PNG in base64 can be more than 30 MiB."""
ESTIMATED_TOKENS = 1056
"""Of an image of usual size whose usage is missing: gpt-image's medium quality at 1024x1024 (API reference, 2026-11)."""


def parse_usage(raw: object) -> Usage | None:
    """Read the usage of an images reply; None when it is absent or makes no sense (T9).

    Output is image tokens but for what ``output_tokens_details`` calls text: gpt-image-1.5 and
    later think in text (recordings of 2026-08). More in total than in both parts is *unknown*.
    """
    if not isinstance(raw, dict):
        return None
    given, made = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    if given is None or made is None:
        return None
    total = count(raw.get("total_tokens", given + made))
    pictures = _detail(raw, "input_tokens_details", "image_tokens", 0)
    cached = _detail(raw, "input_tokens_details", "cached_tokens", 0)
    drawn = _detail(raw, "output_tokens_details", "image_tokens", made)
    if total is None or pictures is None or cached is None or drawn is None:
        return None
    if pictures > given or cached > given or drawn > made or total < given + made:
        return None
    read = min(cached, given - pictures)
    return Usage(
        input=given - pictures - read,
        image_input=pictures - (cached - read),
        cache_read=cached,
        output=made - drawn,
        image_output=drawn,
        unknown=total - given - made,
    )


def _detail(raw: Mapping[str, Any], name: str, member: str, default: int) -> int | None:
    details = raw.get(name)
    if details is None:
        return default
    return count(details.get(member, default)) if isinstance(details, dict) else None


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return the ``usage`` of an images reply: OpenAI's counts, and what was billed beside tokens."""
    shown: dict[str, Any] = {
        "input_tokens": usage.prompt_total,
        "input_tokens_details": {
            "text_tokens": usage.prompt_total - usage.image_input,
            "image_tokens": usage.image_input,
        },
        "output_tokens": usage.output_total,
        "output_tokens_details": {"text_tokens": usage.output, "image_tokens": usage.image_output},
        "total_tokens": usage.total,
    }
    if usage.units:
        shown["units"] = units_to_data(usage.units)
    return shown


def made(entries: Sequence[Mapping[str, Any]]) -> int:
    """Return how many pictures a reply really has."""
    return sum(
        1 for one in entries if any(isinstance(one.get(name), str) and one[name] for name in ("b64_json", "url"))
    )


def counted(usage: Usage | None, call: Call, number: int, variant: str, *, per_image: bool) -> tuple[Usage, bool]:
    """Return the usage of so many pictures, and whether it is an estimate.

    ``usage`` is the upstream's count of tokens; where the price is per image none is needed;
    else an estimate is made (T7).
    """
    units = (Units("image", number, variant),) if number else ()
    if usage is not None:
        return replace(usage, units=units), False
    if per_image:
        return Usage(units=units), False
    drawn = number * ESTIMATED_TOKENS * call.image_scale
    return Usage(input=estimate.of_bytes(call.input_bytes), image_output=drawn, units=units), True


def read(raw: dict[str, Any], call: Call, *, per_image: bool, classify: Classify = chat_reply.unclassified) -> Reply:
    """Read a whole reply in OpenAI's form; raises UpstreamFault for an error inside a 200 and for one without a picture.

    ``images`` for ``data`` is SiliconFlow's word (its API page, 2026-11).
    """
    if chat_reply.error_in(raw):
        raise UpstreamFault(classify(raw))
    data = raw.get("data", raw.get("images"))
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_images"))
    if not made(data):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="no_images"))
    body = {name: value for name, value in raw.items() if name != "images"}
    body["data"] = data
    if count(body.get("created")) is None:
        body["created"] = call.created_s
    variant = images.variant_of(raw, call.image_words)
    usage, estimated = counted(parse_usage(raw.get("usage")), call, made(data), variant, per_image=per_image)
    return build(body, usage, estimated=estimated)


def build(body: dict[str, Any], usage: Usage, *, estimated: bool = False) -> Reply:
    """Return the reply that carries this body."""
    return Reply(
        body=body,
        usage=usage,
        finish_reason=None,
        native_finish_reason=None,
        upstream_id=None,
        has_content=made(body["data"]) > 0,
        estimated=estimated,
    )


class ImagesReader:
    """A stream in OpenAI's form: partial images pass as they come, whole ones wait for the charge."""

    def __init__(self, call: Call, *, per_image: bool, classify: Classify = chat_reply.unclassified) -> None:
        self.facts = StreamFacts()
        self._call, self._per_image, self._classify = call, per_image, classify
        self._splitter = sse.FrameSplitter(MAX_FRAME_BYTES)
        self._kept: list[bytes] = []
        self._made = 0
        self._variant = images.variant_of({}, call.image_words)
        self._told: dict[str, int] | None = {}

    def feed(self, data: bytes) -> bytes:
        if self.facts.complete or self.facts.failure is not None:
            return b""
        try:
            frames = self._splitter.feed(data)
        except sse.FrameTooLarge:
            self._fail("frame_too_large")
            return b""
        return b"".join([self._take(frame) for frame in frames])

    def close(self) -> None:
        for frame in self._splitter.rest():
            self._take(frame)
        if self.facts.failure is None and not self.facts.complete:
            if self._kept:
                self._complete()
            else:
                self._fail("cut")

    def ending(self) -> bytes:
        return b"".join(self._kept)

    def _take(self, frame: bytes) -> bytes:
        _, data = sse.parse(frame)
        if self.facts.complete or self.facts.failure is not None:
            return b""
        if data is None:
            return self._take_whole(frame) if frame.startswith(b"{") else b""
        if data.strip() == b"[DONE]":
            if self._kept:
                self._complete()
            return b""
        event = json_text.object_of(data)
        if event is None:
            self._fail("not_json")
            return b""
        return self._event(event, frame + b"\n\n")

    def _take_whole(self, body: bytes) -> bytes:
        """Take a whole reply that stands in place of the stream: an upstream that ignores ``stream: true`` (T74)."""
        raw = json_text.object_of(body)
        if raw is None or self.facts.content:
            self._fail("not_an_event_stream")
            return b""
        try:
            reply = read(raw, self._call, per_image=self._per_image, classify=self._classify)
        except UpstreamFault as fault:
            self.facts.failure = fault.failure
            return b""
        self._kept = [events_of(reply, self._call)]
        self.facts.take(reply)
        self.facts.complete = True
        return b""

    def _event(self, event: dict[str, Any], frame: bytes) -> bytes:
        kind = event.get("type")
        if kind == "error" or chat_reply.error_in(event):
            self.facts.failure = self._classify(event)
            return b""
        shows = made([event])
        if shows and not self.facts.content:
            self.facts.content = True
            self._count()
        if not (isinstance(kind, str) and kind.endswith(".completed")):
            return frame
        self._kept.append(frame)
        self._made += shows
        self._variant = images.variant_of(event, self._call.image_words)
        self._add(event.get("usage"))
        if self._made:
            self._count()
        if len(self._kept) >= self._call.choices:
            self._complete()
        return b""

    def _add(self, told: object) -> None:
        """Sum the tokens of every whole image; one without a count leaves the sum unknown."""
        usage = parse_usage(told)
        if usage is None or self._told is None:
            self._told = None
            return
        for name in ("input", "image_input", "cache_read", "output", "image_output", "unknown"):
            self._told[name] = self._told.get(name, 0) + getattr(usage, name)

    def _count(self) -> None:
        """Put into the facts what is charged of what has come so far, should nobody be there to read on: an image at least."""
        facts, number = self.facts, max(self._made, 1)
        usage, facts.estimated = counted(None, self._call, number, self._variant, per_image=self._per_image)
        if self._told:
            usage, facts.estimated = Usage(**self._told, units=usage.units), False
        facts.usage = usage

    def _complete(self) -> None:
        if self._made:
            self.facts.complete = True
        else:
            self._fail("no_images")

    def _fail(self, code: str) -> None:
        self.facts.failure = Failure(FaultKind.PROTOCOL, code=code)


_UNTOLD = {"size": "auto", "quality": "auto", "background": "auto", "output_format": "png"}
"""What an event must say (OpenAI's schema) where the upstream says nothing of it."""


def events_of(reply: Reply, call: Call) -> bytes:
    """Return the events that tell the pictures of a whole reply."""
    kind = "image_edit.completed" if call.images else "image_generation.completed"
    shared = {name: one for name, one in reply.body.items() if name not in ("data", "created", "usage")}
    event = {"type": kind, "created_at": reply.body["created"], **_UNTOLD, **shared}
    return b"".join(sse.encode(orjson.dumps({**event, **one, "usage": None}), kind) for one in reply.body["data"])
