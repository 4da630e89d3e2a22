"""Google's videos (Veo): ``:predictLongRunning`` makes an operation, which is asked for by its name.

Gemini API, video generation, 2026-11; one recorded flow of 2026. The download needs the key and
answers with a redirect; results are kept for two days. Google tells no usage: billed are the
seconds asked for.
"""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

from tokenhub.call import Call
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers import video_jobs
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.gemini import GeminiAdapter
from tokenhub.providers.headers import headers
from tokenhub.providers.jobs import JobAt, Phase, Report
from tokenhub.providers.video_jobs import VideoAdapter
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.replies import Reply
from tokenhub.wire.videos import request as videos

SECONDS: Final = (4, 6, 8)
TIERS: Final = ("720p", "1080p", "4k")
RATIOS: Final = ("16:9", "9:16")
_KNOWN: Final = frozenset({"negative_prompt", "aspect_ratio", "person_generation", "seed"})
_OPERATION: Final = re.compile(r"models/[A-Za-z0-9._-]+/operations/[A-Za-z0-9_-]+", re.ASCII)


class GeminiVideos(GeminiAdapter, VideoAdapter):
    """Veo under the base URL."""

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
        instance: dict[str, Any] = {"prompt": body["prompt"]}
        if "input_reference" in body:
            instance["image"] = _image(body["input_reference"])
        parameters = {
            "aspectRatio": asked["ratio"],
            "durationSeconds": asked["seconds"],
            "resolution": asked["resolution"],
            "negativePrompt": body.get("negative_prompt"),
            "personGeneration": body.get("person_generation"),
            "seed": body.get("seed"),
        }
        sent = {
            "instances": [instance],
            "parameters": {name: value for name, value in parameters.items() if value is not None},
        }
        model = quote(deployment.upstream_id, safe="")
        return UpstreamRequest(
            url=f"{deployment.base_url}/models/{model}:predictLongRunning",
            headers=headers(deployment.provider, deployment.credential),
            body=orjson.dumps(sent),
            dropped=video_jobs.dropped(body, _KNOWN),
        )

    def asked(self, body: Mapping[str, Any], deployment: Deployment) -> dict[str, Any]:
        tier = video_jobs.tier(body, TIERS)
        length = video_jobs.seconds(body, SECONDS if tier == "720p" else SECONDS[-1:])
        ratio = body.get("aspect_ratio") or videos.ratio(body["size"]) or RATIOS[0]
        if ratio not in RATIOS:
            raise InvalidRequest(f"The shape must be one of {', '.join(RATIOS)} for {body.get('model')}.", param="size")
        return {"seconds": length, "size": body["size"], "resolution": tier, "ratio": ratio}

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        name = chat_reply.parse_body(body).get("name")
        if not isinstance(name, str) or not _OPERATION.fullmatch(name):
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="no_task_id"))
        return video_jobs.created(name, call)

    def poll(self, job: JobAt) -> UpstreamRequest:
        return video_jobs.get(job, f"{job.base_url}/{quote(job.upstream_id, safe='/')}")

    def stands(self, job: JobAt, raw: dict[str, Any]) -> Report:
        if raw.get("done") is not True:
            return Report(Phase.RUNNING)
        if raw.get("error") is not None:
            return video_jobs.failed(self._provider.id, raw["error"])
        made = _made(raw.get("response"))
        samples = made.get("generatedSamples")
        video = (
            samples[0].get("video") if isinstance(samples, list) and samples and isinstance(samples[0], dict) else {}
        )
        url = video.get("uri") if isinstance(video, dict) else None
        if not url and (made.get("raiMediaFilteredCount") or made.get("raiMediaFilteredReasons")):
            return video_jobs.filtered()
        return video_jobs.complete(job, video_jobs.usage(job.asked["seconds"], job.asked["resolution"]), url)

    def cancel(self, job: JobAt) -> UpstreamRequest | None:
        """The Gemini API has no way to cancel one (Gemini API reference, operations, 2026-11)."""
        return None


def _image(reference: str) -> dict[str, str]:
    """Google takes an image's bytes and fetches none."""
    found = videos.data_of(reference)
    if found is None:
        raise InvalidRequest("This provider takes no addresses; send the image itself.", param="input_reference")
    return {"bytesBase64Encoded": found[1], "mimeType": found[0]}


def _made(response: object) -> dict[str, Any]:
    found = response.get("generateVideoResponse") if isinstance(response, dict) else None
    return found if isinstance(found, dict) else {}
