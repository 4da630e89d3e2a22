"""Alibaba Model Studio's videos (wan): asynchronous tasks of DashScope's own API, beside the compatible one.

Model Studio, video synthesis and image-to-video 2.7, read 2026-11; recordings of wanx2.1 of
2026-01. A task and its result are kept for 24 hours.
"""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any, Final

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.providers import video_jobs
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.headers import headers
from tokenhub.providers.jobs import JobAt, Phase, Report
from tokenhub.providers.video_jobs import VideoAdapter
from tokenhub.usage import count
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat.parts import text_of
from tokenhub.wire.replies import Reply
from tokenhub.wire.videos import request as videos

SECONDS: Final = tuple(range(2, 16))
TIERS: Final = ("480p", "720p", "1080p")
_KNOWN: Final = frozenset({"negative_prompt", "aspect_ratio", "prompt_extend", "watermark", "seed"})
_CREATE: Final = "/services/aigc/video-generation/video-synthesis"
_PHASES: Final[Mapping[str | None, Phase]] = {
    "PENDING": Phase.QUEUED,
    "RUNNING": Phase.RUNNING,
    "SUSPENDED": Phase.RUNNING,
    "SUCCEEDED": Phase.COMPLETE,
    "FAILED": Phase.FAILED,
    "CANCELED": Phase.FAILED,
    "UNKNOWN": Phase.UNKNOWN,
}


class DashScopeVideos(VideoAdapter):
    """``video-synthesis`` and ``tasks/{id}`` under the path of the provider's wire ``videos``."""

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        video_jobs.check_price(deployment)
        asked = self.asked(body, deployment)
        given = {"prompt": body["prompt"], "negative_prompt": body.get("negative_prompt")}
        if "input_reference" in body:
            given |= _image(deployment.upstream_id, body["input_reference"])
        parameters = {
            "resolution": asked["resolution"].upper(),
            # A video made from an image has that image's shape.
            "ratio": None if "input_reference" in body else body.get("aspect_ratio") or videos.ratio(body["size"]),
            "duration": asked["seconds"],
            **{name: body.get(name) for name in ("prompt_extend", "seed")},
            "watermark": body.get("watermark", False),
        }
        sent = {"model": deployment.upstream_id, "input": _said(given), "parameters": _said(parameters)}
        return UpstreamRequest(
            url=deployment.url_of(Wire.VIDEOS) + _CREATE,
            headers={**headers(deployment.provider, deployment.credential), "x-dashscope-async": "enable"},
            body=orjson.dumps(sent),
            dropped=video_jobs.dropped(body, _KNOWN),
        )

    def asked(self, body: Mapping[str, Any], deployment: Deployment) -> dict[str, Any]:
        return {
            "seconds": video_jobs.seconds(body, SECONDS),
            "size": body["size"],
            "resolution": video_jobs.tier(body, _tiers(deployment)),
        }

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        raw = chat_reply.parse_body(body)
        output = raw.get("output")
        return video_jobs.created(output.get("task_id") if isinstance(output, Mapping) else None, call)

    def poll(self, job: JobAt) -> UpstreamRequest:
        return video_jobs.get(job, f"{_native(job)}/tasks/{video_jobs.segment(job.upstream_id)}")

    def stands(self, job: JobAt, raw: dict[str, Any]) -> Report:
        output = raw.get("output")
        if not isinstance(output, Mapping):
            output = {}
        phase = _PHASES.get(text_of(output.get("task_status")), Phase.RUNNING)
        if phase is Phase.FAILED:
            return video_jobs.failed(self._provider.id, {"code": output.get("code"), "message": output.get("message")})
        if phase is Phase.UNKNOWN:
            return video_jobs.unknown()
        if phase is not Phase.COMPLETE:
            return Report(phase)
        return video_jobs.complete(job, _usage(raw.get("usage"), job), output.get("video_url"))

    def cancel(self, job: JobAt) -> UpstreamRequest | None:
        """Only a task that still waits can be cancelled (Model Studio, task management, 2026-11)."""
        return video_jobs.get(job, f"{_native(job)}/tasks/{video_jobs.segment(job.upstream_id)}/cancel", "POST")


def _native(job: JobAt) -> str:
    return job.provider.wires[Wire.VIDEOS].url(job.base_url)


def _tiers(deployment: Deployment) -> tuple[str, ...]:
    """The tiers that have a price; all of them where the price is one for all."""
    units = deployment.prices.periods[0].card.units
    priced = {name.partition(" ")[2].lower() for name in units if name.startswith("second ")}
    return tuple(one for one in TIERS if not priced or one in priced)


def _image(upstream_model: str, reference: str) -> dict[str, Any]:
    """The first frame: wan2.7 and later take ``media``, earlier ones ``img_url`` (image-to-video 2.7, 2026-04)."""
    if upstream_model.startswith(("wan2.1", "wan2.2", "wan2.5", "wan2.6", "wanx")):
        return {"img_url": reference}
    return {"media": [{"type": "first_frame", "url": reference}]}


def _usage(stated: object, job: JobAt) -> Any:
    """Billed are ``duration`` seconds (wan2.7, wan3.0), or ``video_duration`` (wanx2.1); else what was asked for."""
    counts = stated if isinstance(stated, Mapping) else {}
    told = next((found for name in ("duration", "video_duration") if (found := _whole(counts.get(name)))), None)
    made = _whole(counts.get("video_count"), video_jobs.MOST) or 1
    return video_jobs.usage(told or job.asked["seconds"], _variant(counts, job), made)


def _whole(stated: object, most: int = video_jobs.LONGEST_S) -> int | None:
    """Seconds may come as ``5`` and as ``5.0``; a part of one is a whole one."""
    if type(stated) is float and 0 < stated <= most:
        return -int(-stated // 1)
    found = count(stated)
    return found if found is not None and found <= most else None


def _variant(counts: Mapping[str, Any], job: JobAt) -> str:
    """The tier that was made: ``SR`` (720), ``size`` or ``video_ratio`` (1280*720); else the one that was asked for."""
    tier = counts.get("SR")
    told = f"{str(tier).rstrip('Pp')}p" if isinstance(tier, int | str) else ""
    if told in TIERS:
        return told
    size = next((text for name in ("size", "video_ratio") if isinstance(text := counts.get(name), str)), "")
    found = videos.resolution(size) if "*" in size or "x" in size else ""
    return found if found in TIERS else str(job.asked["resolution"])


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
