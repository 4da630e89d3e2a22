"""Providers that speak OpenAI's speech, transcriptions and translations."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.headers import headers
from tokenhub.providers.whole import WholeReplies, is_sold_by
from tokenhub.wire import multipart
from tokenhub.wire.audio import speech, transcriptions
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.replies import Reply, StreamReader
from tokenhub.wire.whole_reader import WholeReader

_ANYTHING = {"accept": "*/*"}
_OPERATION = "transcriptions"
"""The last step of the path; translations stand beside it."""


class OpenAICompatibleSpeech(WholeReplies):
    """``/audio/speech``; always a stream, of events where the model can send them."""

    wire = Wire.SPEECH
    path = "audio/speech"

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        events = bool(deployment.model.traits["speech_events"])
        return UpstreamRequest(
            self.url(deployment),
            {**headers(deployment.provider, deployment.credential), **_ANYTHING},
            orjson.dumps(speech.request(body, deployment.upstream_id, events=events)),
        )

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="not_a_stream"))

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        by_character = is_sold_by(deployment, "character")
        if not deployment.model.traits["speech_events"]:
            return speech.SpeechBytes(call, by_character=by_character, classify=self._classify)
        reader = speech.SpeechEvents if call.encoding == "sse" else speech.SpeechDecoder
        return reader(call, by_character=by_character, classify=self._classify)


class OpenAICompatibleTranscriptions(WholeReplies):
    """``/audio/transcriptions`` and ``/audio/translations``: the client's form, its file uncopied."""

    wire = Wire.TRANSCRIPTIONS
    path = "audio/transcriptions"

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        if call.operation and not deployment.model.traits["translations"]:
            where = f"{deployment.model.id} at {deployment.provider.id}"
            raise InvalidRequest(f"{where} transcribes only; it has no translations.", param="model")
        events = call.stream and call.encoding not in transcriptions.SUBTITLES
        form = transcriptions.request(body, deployment.upstream_id, stream=events)
        content_type, pieces = multipart.render(form)
        own = {"content-type": content_type, **_ANYTHING}
        return UpstreamRequest(
            self.url(deployment).removesuffix(_OPERATION) + (call.operation or _OPERATION),
            {**headers(deployment.provider, deployment.credential), **own},
            pieces,
            comes_whole=not (events and deployment.model.traits["transcript_events"]),
        )

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        return transcriptions.reply(body, call, classify=self._classify, **_sold(deployment))

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        if call.encoding in transcriptions.SUBTITLES:
            return WholeReader(lambda body: self.reply(call, deployment, 200, {}, body), transcriptions.events_of)
        return transcriptions.TranscriptEvents(call, classify=self._classify, **_sold(deployment))


def _sold(deployment: Deployment) -> dict[str, Any]:
    """How a deployment's seconds are counted."""
    return {
        "by_second": is_sold_by(deployment, "second"),
        "seconds_min": deployment.model.traits["seconds_min"],
    }
