"""``/images/generations`` and ``/images/edits`` at OpenAI and the servers that speak its form."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers import image_results
from tokenhub.providers.adapter import NO_HINTS, CacheHints, Pending, UpstreamRequest
from tokenhub.providers.base import BaseAdapter
from tokenhub.providers.headers import headers
from tokenhub.wire import multipart
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat import request as chat
from tokenhub.wire.images import reply as images_reply
from tokenhub.wire.images.reply import ImagesReader
from tokenhub.wire.multipart import Upload
from tokenhub.wire.replies import Reply, StreamReader

ALWAYS_BASE64 = ("gpt-image", "chatgpt-image")
"""Models that give base64 alone and refuse ``response_format`` (OpenAI, API reference, images, 2026-11)."""


class OpenAIImages(BaseAdapter):
    """The body as the client sent it; an edit goes as a form when it has files, else as JSON."""

    wire = Wire.IMAGES

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        sent = {name: value for name, value in chat.outgoing(body).items() if value is not None}
        sent["model"] = deployment.upstream_id
        dropped: tuple[str, ...] = ()
        if deployment.upstream_id.startswith(ALWAYS_BASE64) and sent.pop("response_format", "b64_json") != "b64_json":
            dropped = ("response_format",)
        method = "edits" if "images" in sent else "generations"
        fixed = headers(deployment.provider, deployment.credential)
        if _has_files(sent):
            content_type, pieces = multipart.render(_as_form(sent))
            return UpstreamRequest(
                f"{deployment.base_url}/images/{method}", {**fixed, "content-type": content_type}, pieces, dropped
            )
        return UpstreamRequest(f"{deployment.base_url}/images/{method}", fixed, orjson.dumps(sent), dropped)

    def reply(
        self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes
    ) -> Reply | Pending:
        raw = chat_reply.parse_body(body)
        return images_reply.read(
            raw, call, per_image=image_results.is_per_image(call, deployment), classify=self._classify
        )

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        return ImagesReader(call, per_image=image_results.is_per_image(call, deployment), classify=self._classify)


def _has_files(body: Mapping[str, Any]) -> bool:
    return any(isinstance(one, Upload) for one in (*body.get("images", ()), body.get("mask")))


def _as_form(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an edit's form: ``image`` is a file, or ``image[]`` several of them."""
    pictures = body["images"]
    if not all(isinstance(one, Upload) for one in (*pictures, body.get("mask") or pictures[0])):
        raise InvalidRequest("Files and addresses cannot be mixed in one edit.", param="image")
    fields = {name: value for name, value in body.items() if name != "images"}
    fields["image"] = pictures if len(pictures) > 1 else pictures[0]
    return {name: orjson.dumps(one).decode() if isinstance(one, dict) else one for name, one in fields.items()}
