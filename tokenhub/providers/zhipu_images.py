"""Zhipu and Z.ai: cogview and glm-image, one picture a request, given as an address that lives about 30 days.

docs.bigmodel.cn and docs.z.ai, images, 2026-11. The size, quality and watermark pass under
their names; ``user`` is ``user_id`` of 6 to 128 characters.
"""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.providers import image_results
from tokenhub.providers.adapter import NO_HINTS, CacheHints, Pending, UpstreamRequest
from tokenhub.providers.headers import headers
from tokenhub.providers.whole import NotStreamed
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat import request as chat
from tokenhub.wire.images import reply as images_reply
from tokenhub.wire.images import request as images
from tokenhub.wire.replies import Reply

_PASS = frozenset({"prompt", "quality", "watermark_enabled", "user_id", "request_id"})
_READ = frozenset({"model", "n", "size", "user", "response_format", "stream", "partial_images"})
_QUALITIES = {"high": "hd", "hd": "hd", "medium": "standard", "low": "standard", "standard": "standard"}


class ZhipuImages(NotStreamed):
    """``/images/generations`` under the base URL."""

    wire = Wire.IMAGES

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        image_results.refuse_beyond(call, deployment, count=1, inputs=0)
        given = {name: value for name, value in chat.outgoing(body).items() if value is not None}
        sent = {name: value for name, value in given.items() if name in _PASS}
        if given.get("quality") in images.AUTO:
            sent.pop("quality", None)
        else:
            sent["quality"] = _QUALITIES.get(given["quality"], given["quality"])
        if given.get("size") not in images.AUTO:
            sent["size"] = given["size"]
        user = given.get("user")
        if isinstance(user, str) and 6 <= len(user) <= 128:
            sent["user_id"] = user
        return UpstreamRequest(
            url=deployment.url_of(Wire.IMAGES),
            headers=headers(deployment.provider, deployment.credential),
            body=orjson.dumps({**sent, "model": deployment.upstream_id}),
            dropped=tuple(sorted(given.keys() - _PASS - _READ)),
        )

    def reply(
        self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes
    ) -> Reply | Pending:
        raw = chat_reply.parse_body(body)
        per_image = image_results.is_per_image(call, deployment)
        reply = images_reply.read(raw, call, per_image=per_image, classify=self._classify)
        return image_results.as_asked(reply, call, deployment)
