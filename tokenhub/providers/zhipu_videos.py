"""Zhipu's and Z.ai's videos (CogVideoX): ``/videos/generations`` and ``/async-result/{id}`` under the base URL.

docs.bigmodel.cn and docs.z.ai, video generation, 2026-11; nothing recorded. Billed per video,
whatever its length; addresses of results are good for about a day.
"""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any, Final

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers import video_jobs
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.headers import headers
from tokenhub.providers.jobs import JobAt, Phase, Report
from tokenhub.providers.video_jobs import VideoAdapter
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat.parts import text_of
from tokenhub.wire.replies import Reply
from tokenhub.wire.videos import request as videos

SECONDS: Final = (5, 10)
SIZES: Final = ("1280x720", "720x1280", "1024x1024", "1920x1080", "1080x1920", "2048x1080", "3840x2160")
_KNOWN: Final = frozenset({"quality", "generate_audio", "fps", "watermark"})
_QUALITIES: Final = {"speed": "speed", "quality": "quality", "standard": "speed", "high": "quality", "hd": "quality"}
_PHASES: Final[Mapping[str | None, Phase]] = {
    "PROCESSING": Phase.RUNNING,
    "SUCCESS": Phase.COMPLETE,
    "FAIL": Phase.FAILED,
}


class ZhipuVideos(VideoAdapter):
    """CogVideoX."""

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
        sent = {
            "model": deployment.upstream_id,
            "prompt": body["prompt"],
            "image_url": body.get("input_reference"),
            "size": asked["size"],
            "duration": asked["seconds"],
            "quality": asked.get("quality"),
            "fps": body.get("fps"),
            "with_audio": body.get("generate_audio"),
            "watermark_enabled": body.get("watermark"),
        }
        return UpstreamRequest(
            url=deployment.url_of(Wire.VIDEOS),
            headers=headers(deployment.provider, deployment.credential),
            body=orjson.dumps({name: value for name, value in sent.items() if value is not None}),
            dropped=video_jobs.dropped(body, _KNOWN),
        )

    def asked(self, body: Mapping[str, Any], deployment: Deployment) -> dict[str, Any]:
        asked = {"seconds": video_jobs.seconds(body, SECONDS), "size": _size(body)}
        if "quality" in body:
            quality = _QUALITIES.get(body["quality"])
            if quality is None:
                raise InvalidRequest(f"quality must be one of {', '.join(_QUALITIES)}.", param="quality")
            asked["quality"] = quality
        return asked

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        return video_jobs.created(chat_reply.parse_body(body).get("id"), call, Phase.RUNNING)

    def poll(self, job: JobAt) -> UpstreamRequest:
        return video_jobs.get(job, f"{job.base_url}/async-result/{video_jobs.segment(job.upstream_id)}")

    def stands(self, job: JobAt, raw: dict[str, Any]) -> Report:
        phase = _PHASES.get(text_of(raw.get("task_status")), Phase.RUNNING)
        if phase is Phase.FAILED or ("task_status" not in raw and raw.get("error") is not None):
            return video_jobs.failed(self._provider.id, raw.get("error"))
        if phase is not Phase.COMPLETE:
            return Report(phase)
        made = raw.get("video_result")
        first = made[0] if isinstance(made, list) and made and isinstance(made[0], dict) else {}
        url, cover = first.get("url"), first.get("cover_image_url")
        tier = videos.resolution(str(job.asked["size"]))
        usage = video_jobs.usage(job.asked["seconds"], tier)
        return video_jobs.complete(job, usage, url, cover if isinstance(cover, str) else "")

    def cancel(self, job: JobAt) -> UpstreamRequest | None:
        """There is no way to cancel one (docs.bigmodel.cn, 2026-11)."""
        return None


def _size(body: Mapping[str, Any]) -> str:
    """Return one of the sizes there are; a tier is a wide picture of it."""
    wide = {"720p": "1280x720", "1080p": "1920x1080", "4k": "3840x2160"}
    size = wide.get(body["size"], body["size"])
    if size not in SIZES:
        raise InvalidRequest(f"size must be one of {', '.join(SIZES)} for {body.get('model')}.", param="size")
    return str(size)
