"""What the adapters of all providers' videos do alike: seconds, created replies, failed tasks, results."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers import failures, results
from tokenhub.providers.adapter import UpstreamRequest
from tokenhub.providers.headers import headers
from tokenhub.providers.jobs import UNKNOWN_CODE, JobAt, Phase, Report
from tokenhub.providers.whole import NotStreamed
from tokenhub.usage import Units, Usage
from tokenhub.wire import words
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.faults import CLIENT_FAULTS, Failure, FaultKind, UpstreamFault
from tokenhub.wire.replies import Reply
from tokenhub.wire.videos import request as videos

BY_ALL: Final = frozenset({"model", "prompt", "seconds", "size", "input_reference"})
"""Members of a call that every provider has a word for."""
GONE: Final = frozenset({404, 410})
LONGEST_S: Final = 3_600
"""A video said to be longer, and more of them than ``MOST``, are nonsense and read as nothing said (T9)."""
MOST: Final = 16


def check_price(deployment: Deployment) -> None:
    """Refuse a deployment that states no price per second or per video: what is made there would be free (T14)."""
    cards = [period.card for period in deployment.prices.periods]
    if not all(card.has_unit("second") or card.has_unit("video") for card in cards):
        raise InvalidRequest(
            f"{deployment.model.id} has no price per second or per video at {deployment.provider.id}.", param="model"
        )


def seconds(body: Mapping[str, Any], offered: Sequence[int]) -> int:
    """Return how long the video will be: as asked, which must be offered; else the offered length nearest to the default."""
    asked: int | None = body.get("seconds")
    if asked is None:
        return min(offered, key=lambda one: (abs(one - videos.SECONDS_DEFAULT), one))
    if asked not in offered:
        words = f"{offered[0]} to {offered[-1]}" if len(offered) > 4 else ", ".join(map(str, offered))
        raise InvalidRequest(f"seconds must be one of {words} for {body.get('model')}.", param="seconds")
    return asked


def tier(body: Mapping[str, Any], offered: Sequence[str]) -> str:
    """Return the size's tier (``720p``), which must be offered."""
    found = videos.resolution(body["size"])
    if found not in offered:
        raise InvalidRequest(
            f"size must be of {', '.join(offered)} for {body.get('model')}; {body['size']} is {found}.", param="size"
        )
    return found


def dropped(body: Mapping[str, Any], known: frozenset[str]) -> tuple[str, ...]:
    """Return the members of a call that this provider has no word for."""
    return tuple(sorted(body.keys() - known - BY_ALL - videos.SAID_ELSEWHERE))


def created(upstream_id: object, call: Call, phase: Phase = Phase.QUEUED) -> Reply:
    """Return the reply to a creation; one without the id of a task is a PROTOCOL fault: nobody could ask for it."""
    task_id = words.id_of(upstream_id) if isinstance(upstream_id, str) else None
    if task_id is None:
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="no_task_id"))
    return Reply({"status": phase.value, "model": call.model}, None, None, None, task_id, has_content=True)


def usage(count: int, variant: str, made: int = 1) -> Usage:
    """Return what a finished video came to: its seconds, and that it is one; the price card says which of them is billed."""
    return Usage(units=(Units("second", count, variant), Units("video", made, variant)))


def failed(provider_id: str, error: object) -> Report:
    """Return the report of a task that its provider calls failed, in our words: the report is kept, and its text may quote the prompt (T112)."""
    failure = failures.of_payload(provider_id, {"error": error} if isinstance(error, Mapping) else {"error": {}})
    if failure.kind is FaultKind.FILTER:
        return filtered()
    reason = "refused what was asked for" if failure.kind in CLIENT_FAULTS else "failed to make it"
    return Report(Phase.FAILED, code=failure.code or "upstream_failed", reason=f"The provider {reason}.")


def unknown() -> Report:
    """Return the report of a task that its provider does not know, or not any more."""
    return Report(Phase.UNKNOWN, code=UNKNOWN_CODE, reason="The provider no longer knows this video.")


def complete(job: JobAt, usage: Usage, url: object, cover: str = "") -> Report:
    """Return the report of a finished video at an address; without one that may be fetched there is no video."""
    if not isinstance(url, str) or not url:
        return Report(Phase.FAILED, code="empty_result", reason="The provider made no video.")
    try:
        results.checked(job.provider, job.base_url, url)
    except UpstreamFault:
        return Report(
            Phase.FAILED,
            code=results.ADDRESS_REFUSED,
            reason="The provider named no place that its video may be fetched from.",
        )
    return Report(Phase.COMPLETE, 100, usage, url, cover)


def filtered() -> Report:
    """Return the report of a task whose video the provider holds back."""
    return Report(
        Phase.FAILED,
        code="content_filter",
        reason="The provider's content filter held the video back; try another prompt.",
    )


def get(job: JobAt, url: str, method: str = "GET") -> UpstreamRequest:
    """Return a request for a task at its provider, with the key that made it."""
    return UpstreamRequest(url, headers(job.provider, job.credential), b"", method=method)


def segment(upstream_id: str) -> str:
    """Return a task's id as one segment of a path, which it cannot leave (T52)."""
    return quote(upstream_id, safe="")


def fetch(job: JobAt, url: str) -> UpstreamRequest:
    """Return the request for a result, if its address is within the provider's rules; the key goes only to the provider's own origin."""
    checked = results.checked(job.provider, job.base_url, url)
    sent = {"accept": "*/*"}
    if results.is_own(job.base_url, urlsplit(checked)):
        sent = {**headers(job.provider, job.credential), **sent}
        del sent["content-type"]
    return UpstreamRequest(checked, sent, b"", method="GET")


class VideoAdapter(NotStreamed, ABC):
    """A :class:`JobAdapter` for videos, but for what each provider has its own words for."""

    wire = Wire.VIDEOS

    def report(self, job: JobAt, status: int, headers: Mapping[str, str], body: bytes) -> Report:
        if 200 <= status < 300:
            return self.stands(job, chat_reply.parse_body(body))
        if status in GONE:
            return unknown()
        raise UpstreamFault(self.failure(status, headers, body))

    @abstractmethod
    def stands(self, job: JobAt, raw: dict[str, Any]) -> Report:
        """Read what the provider says of a task."""

    def content(self, job: JobAt, url: str) -> UpstreamRequest:
        return fetch(job, url)
