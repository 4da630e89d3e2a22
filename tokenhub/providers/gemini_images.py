"""Gemini's image models: generateContent that is asked for a picture."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.providers import gemini, image_results
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.images import over_gemini as images_over_gemini
from tokenhub.wire.images import over_imagen as images_over_imagen
from tokenhub.wire.images import reply as images_reply
from tokenhub.wire.images import request as images
from tokenhub.wire.replies import Reply, StreamReader
from tokenhub.wire.whole_reader import WholeReader

IMAGEN = "imagen"


class GeminiImages(gemini.GeminiAdapter):
    """``:generateContent``, and ``:predict`` for Imagen; a stream is the whole reply in its events: no partial images come."""

    wire = Wire.IMAGES

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        if deployment.upstream_id.startswith(IMAGEN):
            image_results.refuse_beyond(call, deployment, count=images_over_imagen.MAX_COUNT, inputs=0)
            return gemini.model_request(deployment, "predict", *images_over_imagen.request(body))
        image_results.refuse_beyond(call, deployment, count=1, inputs=images.MAX_INPUTS, streams=True)
        sent, dropped = images_over_gemini.request(body)
        return replace(gemini.model_request(deployment, "generateContent", sent, dropped), comes_whole=True)

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        raw = chat_reply.parse_body(body)
        if deployment.upstream_id.startswith(IMAGEN):
            return images_over_imagen.reply(raw, call)
        return images_over_gemini.reply(raw, call, per_image=image_results.is_per_image(call, deployment))

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        return WholeReader(
            lambda body: self.reply(call, deployment, 200, {}, body), lambda reply: images_reply.events_of(reply, call)
        )
