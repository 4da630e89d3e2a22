"""Servers that speak OpenAI's Videos API themselves: ``/videos`` under the base URL (vLLM-Omni, another TokenHub)."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any, Final

import orjson

from tokenhub.call import Call
from tokenhub.catalog.models import Deployment
from tokenhub.providers import video_jobs
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.headers import headers
from tokenhub.providers.jobs import JobAt, Phase, Report
from tokenhub.providers.video_jobs import VideoAdapter
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat.parts import text_of
from tokenhub.wire.replies import Reply
from tokenhub.wire.videos import request as videos

SECONDS: Final = tuple(range(1, videos.SECONDS_MOST + 1))
_PHASES: Final[Mapping[str | None, Phase]] = {
    "queued": Phase.QUEUED,
    "in_progress": Phase.RUNNING,
    "completed": Phase.COMPLETE,
    "failed": Phase.FAILED,
    "cancelled": Phase.FAILED,
    "expired": Phase.FAILED,
}


class OpenAIVideos(VideoAdapter):
    """The API of ``wire/videos/request.py``, at an upstream."""

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
        sent: dict[str, Any] = {
            "model": deployment.upstream_id,
            "prompt": body["prompt"],
            "seconds": str(asked["seconds"]),
            "size": asked["size"],
        }
        if "input_reference" in body:
            sent["input_reference"] = {"image_url": body["input_reference"]}
        return UpstreamRequest(
            url=f"{deployment.base_url}/videos",
            headers=headers(deployment.provider, deployment.credential),
            body=orjson.dumps(sent),
            dropped=video_jobs.dropped(body, frozenset()),
        )

    def asked(self, body: Mapping[str, Any], deployment: Deployment) -> dict[str, Any]:
        return {"seconds": video_jobs.seconds(body, SECONDS), "size": body["size"]}

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        raw = chat_reply.parse_body(body)
        return video_jobs.created(raw.get("id"), call)

    def poll(self, job: JobAt) -> UpstreamRequest:
        return video_jobs.get(job, _address(job))

    def stands(self, job: JobAt, raw: dict[str, Any]) -> Report:
        phase = _PHASES.get(text_of(raw.get("status")), Phase.RUNNING)
        if phase is Phase.FAILED:
            return video_jobs.failed(self._provider.id, raw.get("error"))
        progress = raw.get("progress")
        if phase is not Phase.COMPLETE:
            return Report(phase, progress if type(progress) is int and 0 <= progress <= 100 else None)
        made = _seconds(raw.get("seconds")) or job.asked["seconds"]
        size = raw.get("size")
        asked = videos.resolution(str(job.asked["size"]))
        told = videos.resolution(size) if isinstance(size, str) else asked
        tier = told if videos.is_tier(told) else asked
        return Report(phase, 100, video_jobs.usage(made, tier), f"{_address(job)}/content")

    def cancel(self, job: JobAt) -> UpstreamRequest | None:
        return video_jobs.get(job, _address(job), "DELETE")


def _address(job: JobAt) -> str:
    return f"{job.base_url}/videos/{video_jobs.segment(job.upstream_id)}"


def _seconds(stated: object) -> int | None:
    """Seconds are a text in OpenAI's object."""
    return (
        int(stated) if isinstance(stated, str) and stated.isascii() and stated.isdigit() and len(stated) < 4 else None
    )
