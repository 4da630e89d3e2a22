"""DashScope's own image API: answered at once, or by a task that is polled inside the request."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

import re
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
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.images import over_dashscope as images_over_dashscope
from tokenhub.wire.images import request as images
from tokenhub.wire.replies import Reply

MAX_COUNT, MAX_INPUTS = 6, 9
"""qwen-image-2.0 makes six, wan 2.7 starts from nine (Model Studio, 2026-11); a model that takes less says so itself."""
POLL_TROUBLES = 5
"""Polls in a row that may fail before the task is given up."""

_TASK_ID = re.compile(r"[A-Za-z0-9-]{1,128}", re.ASCII)
_TROUBLE = frozenset({408, 429, 500, 502, 503, 504})


class DashScopeImages(NotStreamed):
    """``multimodal-generation``, or a task of the model's trait ``image_task``."""

    wire = Wire.IMAGES

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        takes = MAX_INPUTS if "image" in deployment.model.input_modalities else 0
        image_results.refuse_beyond(call, deployment, count=MAX_COUNT, inputs=takes)
        pictures = [image_results.data_url(one) for one in images.inputs_of(body)]
        task: str = deployment.model.traits["image_task"]
        sent, dropped = images_over_dashscope.request(body, deployment.upstream_id, task, pictures)
        fixed = headers(deployment.provider, deployment.credential)
        if task:
            fixed["x-dashscope-async"] = "enable"
        path = images_over_dashscope.TASK_PATHS[task] if task else images_over_dashscope.SYNC_PATH
        return UpstreamRequest(f"{deployment.url_of(Wire.IMAGES)}/{path}", fixed, orjson.dumps(sent), dropped)

    def reply(
        self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes
    ) -> Reply | Pending:
        return self._read(call, deployment, chat_reply.parse_body(body))

    def _read(self, call: Call, deployment: Deployment, raw: dict[str, Any]) -> Reply | Pending:
        """Read a result, or how its task stands."""
        if chat_reply.error_in(raw):
            raise UpstreamFault(self._classify(raw))
        output = images_over_dashscope.output_of(raw)
        status = images_over_dashscope.status_of(output)
        if status in images_over_dashscope.FAILED:
            raise UpstreamFault(self._why(output))
        if status in ("", images_over_dashscope.DONE):
            return image_results.as_asked(images_over_dashscope.reply(raw, call), call, deployment)
        task_id = output.get("task_id")
        if not isinstance(task_id, str) or not _TASK_ID.fullmatch(task_id):
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_task"))
        return self._poll(call, deployment, task_id, POLL_TROUBLES)

    def _poll(self, call: Call, deployment: Deployment, task_id: str, troubles: int) -> Pending:
        def read(status: int, answered: Mapping[str, str], body: bytes) -> Reply | Pending:
            if status in _TROUBLE and troubles:
                return self._poll(call, deployment, task_id, troubles - 1)
            if not 200 <= status < 300:
                raise UpstreamFault(self.failure(status, answered, body))
            return self._read(call, deployment, chat_reply.parse_body(body))

        request = UpstreamRequest(
            f"{deployment.url_of(Wire.IMAGES)}/tasks/{task_id}",
            headers(deployment.provider, deployment.credential),
            b"",
            method="GET",
        )
        return Pending(request, read, wait_s=deployment.provider.quirks["poll_ms"] / 1000, retries=troubles)

    def _why(self, output: Mapping[str, Any]) -> Failure:
        """Sort a failed task; where every picture failed its reason stands with each."""
        results = output.get("results")
        said = [output, *(results if isinstance(results, list) else [])]
        told = next((one for one in said if isinstance(one, dict) and one.get("code")), {})
        if not told:
            return Failure(FaultKind.SERVER, code="task_failed")
        return self._classify({"code": told["code"], "message": told.get("message", "")})
