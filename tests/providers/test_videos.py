"""Videos at each provider: recorded flows read as they were, requests as the documentation asks, failures told apart."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.upstream import FakeUpstream, Pause, WaitForClientClose, json_reply
from tokenhub.call import Call, Wire
from tokenhub.catalog import load
from tokenhub.catalog.models import Credential, Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers import registry, results
from tokenhub.providers.client import tasks
from tokenhub.providers.jobs import JobAdapter, JobAt, Phase, Report
from tokenhub.usage import Units
from tokenhub.wire.faults import FaultKind, UpstreamFault
from tokenhub.wire.videos import request as videos

RECORDINGS = Path(__file__).parents[2] / "../shared/wire"
CATALOG = load.load(())
ADAPTERS = registry.adapters_of(CATALOG.providers)
MODELS = {
    "alibaba": "wan2.7-t2v",
    "google": "veo-3.1-fast-generate-001",
    "zhipu": "cogvideox-3",
}
SIZES = {"alibaba": "1280x720", "google": "1280x720", "zhipu": "1280x720"}


def deployment(provider: str, model: str = "") -> Deployment:
    endpoints = CATALOG.endpoints[model or MODELS[provider]]
    endpoint = next(one for one in endpoints if one.provider.id == provider)
    return endpoint.with_credential(Credential(1, provider, endpoint.region.id, "", "secret"))


def adapter(provider: str) -> JobAdapter:
    found = ADAPTERS[provider, Wire.VIDEOS]
    assert isinstance(found, JobAdapter)
    return found


def job(provider: str, upstream_id: str = "task-1", **asked: Any) -> JobAt:
    at = deployment(provider)
    facts = {"seconds": 5, "size": "1280x720", "resolution": "720p", **asked}
    return JobAt(at.provider, at.base_url, at.credential, at.upstream_id, upstream_id, facts)


def sent(provider: str, model: str = "", **fields: Any) -> dict[str, Any]:
    body = videos.normalised({"model": "m", "prompt": "a cat", "size": SIZES[provider], **fields})
    request = adapter(provider).request(videos.parse_call(body, 0), body, deployment(provider, model), None)
    assert isinstance(request.body, bytes)
    found: dict[str, Any] = json.loads(request.body)
    return found


def report(provider: str, body: Any, status: int = 200, **asked: Any) -> Report:
    headers: Mapping[str, str] = {"content-type": "application/json"}
    return adapter(provider).report(job(provider, **asked), status, headers, json.dumps(body).encode())


# Recordings


def recorded() -> list[Any]:
    if not (RECORDINGS / "index.json").exists():
        return []
    entries = json.loads((RECORDINGS / "index.json").read_text())["exchanges"]
    found = [entry for entry in entries if entry["kind"] == "video"]
    assert len(found) == 9
    return [pytest.param(entry, id=entry["file"].removesuffix(".json")) for entry in found]


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings (../shared/wire) are not here")
@pytest.mark.parametrize("entry", recorded())
def test_a_recorded_exchange_is_asked_for_and_read_as_it_was(entry: dict[str, Any]) -> None:
    """The path is the one recorded; the reply gives the id, the phase, the usage and the address in it."""
    exchange = json.loads((RECORDINGS / entry["file"]).read_text())
    provider = {"dashscope": "alibaba", "google": "google"}[entry["provider"]]
    asked, answer = exchange["request"], exchange["response"]["body"]
    raw = json.dumps(answer).encode()
    if asked["method"] == "POST":
        path = asked["path"].replace("veo-3.1-lite-generate-preview", MODELS["google"])
        body = videos.normalised({"model": "m", "prompt": "a cat", "size": "1280x720"})
        call = videos.parse_call(body, 0)
        request = adapter(provider).request(call, body, deployment(provider), None)
        assert request.url.endswith(path)
        assert isinstance(request.body, bytes)
        assert set(asked["body"]) <= set(json.loads(request.body))
        reply = adapter(provider).reply(call, deployment(provider), 200, {}, raw)
        assert reply.upstream_id == (answer.get("name") or answer["output"]["task_id"])
        return
    task = asked["path"].removeprefix("/v1beta/").rpartition("/tasks/")[2]
    at = job(provider, task, seconds=4)
    assert adapter(provider).poll(at).url.endswith(asked["path"])
    found = adapter(provider).report(at, 200, {}, raw)
    if provider == "google":
        assert found.phase is (Phase.COMPLETE if answer.get("done") else Phase.RUNNING)
    else:
        status = answer["output"]["task_status"]
        assert found.phase is {"RUNNING": Phase.RUNNING, "SUCCEEDED": Phase.COMPLETE}[status]
    if found.phase is Phase.COMPLETE:
        assert found.url.startswith("https://")
        assert found.usage is not None
        seconds = 4 if provider == "google" else answer["usage"]["video_duration"]
        assert found.usage.units == (Units("second", seconds, "720p"), Units("video", 1, "720p"))
        content = adapter(provider).content(at, found.url)
        assert content.url == found.url
        assert ("x-goog-api-key" in content.headers) is (provider == "google")
        assert "authorization" not in content.headers


# Requests


def test_wan_is_asked_for_tier_shape_and_seconds() -> None:
    body = sent("alibaba", seconds=12, size="1080x1920", seed=7, negative_prompt="rain", watermark=True)
    assert body["parameters"] == {
        "resolution": "1080P", "ratio": "9:16", "duration": 12, "seed": 7, "watermark": True,
    }  # fmt: skip
    assert body["input"] == {"prompt": "a cat", "negative_prompt": "rain"}
    assert sent("alibaba")["parameters"]["duration"] == 4
    with pytest.raises(InvalidRequest, match="480p, 720p, 1080p"):
        sent("alibaba", "wan3.0-video", size="4k")


def test_earlier_wan_models_take_an_address_of_the_image() -> None:
    at = deployment("alibaba", "wan2.7-i2v")
    old = replace(at, offering=replace(at.offering, upstream_id="wan2.5-i2v-preview"))
    body = videos.normalised(
        {"model": "m", "prompt": "x", "size": "720p", "input_reference": {"image_url": "https://a.example/x.png"}}
    )
    request = adapter("alibaba").request(videos.parse_call(body, 0), body, old, None)
    assert isinstance(request.body, bytes)
    assert json.loads(request.body)["input"]["img_url"] == "https://a.example/x.png"


def test_veo_takes_an_image_itself_and_no_address() -> None:
    image = "data:image/png;base64,AAAA"
    body = sent("google", input_reference=image)
    assert body["instances"][0]["image"] == {"bytesBase64Encoded": "AAAA", "mimeType": "image/png"}
    with pytest.raises(InvalidRequest, match="takes no addresses"):
        sent("google", input_reference={"image_url": "https://example.com/a.png"})


def test_veo_above_720p_is_eight_seconds_long() -> None:
    assert sent("google", size="1920x1080")["parameters"]["durationSeconds"] == 8
    with pytest.raises(InvalidRequest, match="one of 8"):
        sent("google", size="1920x1080", seconds=4)


def test_cogvideox_takes_its_own_sizes() -> None:
    assert sent("zhipu", size="4k", fps="60")["size"] == "3840x2160"
    assert sent("zhipu", size="4k", fps="60")["fps"] == 60
    with pytest.raises(InvalidRequest, match="size must be one of"):
        sent("zhipu", size="1000x1000")
    with pytest.raises(InvalidRequest, match="5, 10"):
        sent("zhipu", seconds=6)


# Reports


@pytest.mark.parametrize(
    ("usage", "units"),
    [
        ({"duration": 10, "SR": 1080, "video_count": 1}, (10, "1080p")),
        ({"duration": 4.2, "output_video_duration": 4, "size": "1280*720"}, (5, "720p")),
        ({"video_duration": 5, "video_ratio": "832*480"}, (5, "480p")),
        ({"duration": True, "SR": "huge", "size": "?"}, (5, "720p")),
        ({"duration": -1}, (5, "720p")),
        ({"duration": 3600}, (3600, "720p")),
        ({"SR": "1080P"}, (5, "1080p")),
        ({"SR": "٧٢٠"}, (5, "720p")),
        ({"SR": "9" * 5000, "size": "832*480"}, (5, "480p")),
        ({"SR": [1080]}, (5, "720p")),
        ({"duration": 3601}, (5, "720p")),
        ({"duration": 3600.5}, (5, "720p")),
        ({"duration": 2**40, "video_duration": 6}, (6, "720p")),
        ({"video_count": 2**40}, (5, "720p")),
        (None, (5, "720p")),
    ],
)
def test_wan_is_billed_by_what_it_says_else_by_what_was_asked(usage: Any, units: tuple[int, str]) -> None:
    url = "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/a.mp4"
    found = report("alibaba", {"output": {"task_status": "SUCCEEDED", "video_url": url}, "usage": usage})
    assert found.usage is not None
    assert (found.usage.units[0].count, found.usage.units[0].variant) == units
    assert found.usage.units_of("video") == 1


@pytest.mark.parametrize(
    ("provider", "body", "phase", "code"),
    [
        ("alibaba", {"output": {"task_status": "PENDING"}}, Phase.QUEUED, ""),
        ("alibaba", {"output": {"task_status": "A_NEW_WORD"}}, Phase.RUNNING, ""),
        ("alibaba", {"output": {"task_status": {}}}, Phase.RUNNING, ""),
        ("alibaba", {"output": {"task_status": "CANCELED"}}, Phase.FAILED, "upstream_failed"),
        ("alibaba", {"output": {"task_status": "UNKNOWN"}}, Phase.UNKNOWN, "upstream_lost"),
        ("alibaba", {"output": {"task_status": "SUCCEEDED"}}, Phase.FAILED, "empty_result"),
        ("alibaba", {"output": {"task_status": "SUCCEEDED", "video_url": "https://evil.example/a.mp4"}}, Phase.FAILED, "result_address"),
        ("alibaba", {"output": {"task_status": "SUCCEEDED", "video_url": "soon"}}, Phase.FAILED, "result_address"),
        ("alibaba", {"output": {"task_status": "SUCCEEDED", "video_url": ["https://x"]}}, Phase.FAILED, "empty_result"),
        ("alibaba", {}, Phase.RUNNING, ""),
        ("google", {"name": "x"}, Phase.RUNNING, ""),
        ("google", {"name": "x", "done": "yes"}, Phase.RUNNING, ""),
        ("google", {"done": True, "error": {"code": 13, "message": "internal"}}, Phase.FAILED, "13"),
        ("google", {"done": True, "response": {"generateVideoResponse": {"raiMediaFilteredCount": 1}}}, Phase.FAILED, "content_filter"),
        ("google", {"done": True, "response": {}}, Phase.FAILED, "empty_result"),
        ("zhipu", {"task_status": "PROCESSING"}, Phase.RUNNING, ""),
        ("zhipu", {"task_status": ["SUCCESS"]}, Phase.RUNNING, ""),
        ("zhipu", {"task_status": "SUCCESS", "video_result": []}, Phase.FAILED, "empty_result"),
        ("zhipu", {"task_status": "SUCCESS", "video_result": [{"url": "file:///etc/passwd"}]}, Phase.FAILED, "result_address"),
        ("zhipu", {"task_status": "FAIL"}, Phase.FAILED, "upstream_failed"),
    ],
)  # fmt: skip
def test_reports(provider: str, body: Any, phase: Phase, code: str) -> None:
    found = report(provider, body)
    assert (found.phase, found.code) == (phase, code)
    assert found.usage is None


def test_t112_what_a_failed_task_says_is_not_kept_but_for_its_code() -> None:
    found = report("google", {"done": True, "error": {"code": 400, "message": "your prompt: my name is Alice"}})
    assert (found.phase, found.code) == (Phase.FAILED, "400")
    assert found.reason == "The provider refused what was asked for."


@pytest.mark.parametrize("provider", MODELS)
def test_a_task_that_is_not_found_is_unknown_and_other_failures_say_nothing_of_it(provider: str) -> None:
    assert report(provider, {"error": {"message": "no"}}, 404).phase is Phase.UNKNOWN
    words = {403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
    for status, kind in ((403, FaultKind.AUTH), (429, FaultKind.RATE), (500, FaultKind.SERVER)):
        with pytest.raises(UpstreamFault) as caught:
            report(provider, {"error": {"code": status, "status": words[status], "message": "x"}}, status)
        assert caught.value.failure.kind is kind, status


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("alibaba", {"output": {}}),
        ("google", {"name": "../secrets"}),
        ("zhipu", {}),
        ("zhipu", {"id": "my name is Alice"}),
    ],
)
def test_a_creation_without_an_id_is_no_creation(provider: str, body: Any) -> None:
    with pytest.raises(UpstreamFault, match="no_task_id"):
        adapter(provider).reply(_call(), deployment(provider), 200, {}, json.dumps(body).encode())


def _call() -> Call:
    return videos.parse_call({"model": "m", "prompt": "x", "size": "720p"}, 0)


@pytest.mark.parametrize("provider", ["alibaba", "zhipu"])
def test_a_tasks_id_cannot_leave_its_path(provider: str) -> None:
    assert adapter(provider).poll(job(provider, "../../v1/files?x=")).url.endswith("..%2F..%2Fv1%2Ffiles%3Fx%3D")


# Results' addresses


@pytest.mark.parametrize(
    ("url", "fetched"),
    [
        ("https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/a.mp4?Signature=%2B", None),
        ("http://dashscope-result-sh.oss-accelerate.aliyuncs.com/a.mp4", "https://dashscope-result-sh.oss-accelerate.aliyuncs.com/a.mp4"),
        ("https://dashscope.aliyuncs.com/api/v1/x", None),
        ("https://DASHSCOPE-result-bj.oss-cn-beijing.aliyuncs.com/a", "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/a"),
    ],
)  # fmt: skip
def test_a_result_is_fetched_at_its_providers_hosts(url: str, fetched: str | None) -> None:
    at = job("alibaba")
    assert results.checked(at.provider, at.base_url, url) == (fetched or url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "not an address",
        "https://a.dashscope-result-bj.oss-cn-beijing.aliyuncs.com/x",
        "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com.evil.example/x",
        "https://user:pw@dashscope-result-bj.oss-cn-beijing.aliyuncs.com/x",
        "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com:444/x",
        "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/x\r\nX-Evil: 1",
        "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com\\@evil.example/x",
        "gopher://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "http://dashscope.aliyuncs.com/x",
        "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/" + "x" * 9000,
        "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com:99999/x",
        "https://dashscope-\u0131.oss-cn-beijing.aliyuncs.com/x",
    ],
)
def test_a_result_anywhere_else_is_not(url: str) -> None:
    at = job("alibaba")
    with pytest.raises(UpstreamFault, match="result_address"):
        results.checked(at.provider, at.base_url, url)


# Many looks at once


def test_answers_come_as_they_are_given_and_a_slow_provider_keeps_no_other_waiting() -> None:
    """More looks than may be under way at one provider, each slow, and after them one at another."""
    slow = [Pause(1.0), *json_reply({"output": {"task_status": "RUNNING"}})]
    quick = json_reply({"task_status": "PROCESSING"})
    with FakeUpstream(lambda _: slow) as far, FakeUpstream(lambda _: quick) as near:
        looks = [
            (adapter("alibaba"), replace(job("alibaba", f"t{number}"), base_url=f"{far.origin}/v1"))
            for number in range(18)
        ]
        looks.append((adapter("zhipu"), replace(job("zhipu"), base_url=near.url)))
        answers = tasks.ask_each("hub", looks)
        assert next(answers) == (18, Report(Phase.RUNNING))
        assert len(far.received) <= tasks.AT_ONCE
        assert sorted(number for number, _ in answers) == list(range(18))
        assert len(far.received) == 18


def test_looks_that_nobody_waits_for_any_more_are_given_up() -> None:
    with FakeUpstream(lambda _: [WaitForClientClose()]) as far, FakeUpstream(lambda _: json_reply({})) as near:
        looks = [
            (adapter("alibaba"), replace(job("alibaba"), base_url=f"{far.origin}/v1")),
            (adapter("zhipu"), replace(job("zhipu"), base_url=near.url)),
        ]
        answers = tasks.ask_each("hub", looks)
        next(answers)
        began_s = time.monotonic()
        answers.close()  # type: ignore[attr-defined]
        assert time.monotonic() - began_s < tasks.TIMEOUTS.whole_reply_s / 2
