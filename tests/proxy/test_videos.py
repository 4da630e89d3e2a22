"""Videos over real sockets: what is asked of each provider, what the caller sees, and what becomes of the hold."""

import http.client
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from tests.fakes.raw_client import RawClient, eventually, post
from tests.fakes.upstream import Cut, FakeUpstream, Received, Reply, WaitFor, head, json_reply
from tests.fakes.video_houses import VIDEO, DashScope, Google, House, OpenAI, Zhipu
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub.catalog.load import Override
from tokenhub.operations import accounts, credentials, grants, keys, preferences
from tokenhub.operations.keys import KeyTerms
from tokenhub.operations.preferences import Subject
from tokenhub.proxy import admission, video_content
from tokenhub.store import catalog, ledger
from tokenhub.wire import multipart
from tokenhub.wire.multipart import Upload

WAN = "wan2.7-t2v"
"""0.086012 USD a second at 720P, 0.143353 at 1080P; on top 3 %."""
SECOND_720 = 86_012_000
SECOND_1080 = 143_353_000


def fee(model_fee: int) -> int:
    return -(-model_fee * 300 // 10_000)


class Studio:
    """A gateway and the house that makes its videos."""

    def __init__(self, gateway: RunningGateway, house: House, fake: FakeUpstream) -> None:
        self.gateway, self.house, self.fake = gateway, house, fake

    def make(self, model: str = WAN, **fields: Any) -> Answer:
        body = {"model": model, "prompt": "a calico cat playing a piano", **fields}
        return self.gateway.call("POST", "/v1/videos", body)

    def made(self, model: str = WAN, **fields: Any) -> dict[str, Any]:
        answer = self.make(model, **fields)
        assert answer.status == 200, answer.body
        shown: dict[str, Any] = answer.json()
        return shown

    def get(self, video_id: str, rest: str = "") -> Answer:
        return self.gateway.call("GET", f"/v1/videos/{video_id}{rest}")

    def until(self, video_id: str, *states: str, seconds: float = 8.0) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            found: dict[str, Any] = self.get(video_id).json()
            if found.get("status") in states:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    def request(self, video_id: str) -> dict[str, Any]:
        (row,) = self.gateway.rows(f"SELECT * FROM requests WHERE id = 'req_{video_id.removeprefix('video_')}'")
        return row

    def holds(self) -> list[dict[str, Any]]:
        return self.gateway.rows("SELECT * FROM holds")


@pytest.fixture
def studio(tmp_path: Any, request: pytest.FixtureRequest) -> Iterator[Studio]:
    house: House = getattr(request, "param", DashScope)()
    gateway = start_gateway(temporary_home(tmp_path), {"jobs.poll_s": 0.05})
    with FakeUpstream(house) as fake:
        house.origin = fake.origin
        _POINT[type(house)](gateway, fake)
        yield Studio(gateway, house, fake)
        assert ledger.verify(gateway.hub.database) == []
        gateway.stop()


def _custom(gateway: RunningGateway, fake: FakeUpstream) -> None:
    """A server of the operator's own that speaks OpenAI's API, and a model of it with a price a second."""
    provider = {"id": "mine", "name": "Mine", "regions": [{"id": "default", "base_url": fake.url}]}
    offering = {"provider": "mine", "upstream_id": "film-1", "per_second": "0.01"}
    unpriced = {"provider": "mine", "upstream_id": "film-2", "price": {"input": "1", "output": "1"}}
    overrides = [
        Override("provider", "mine", provider),
        Override("model", "film", {"id": "film", "capability": "videos", "offerings": [offering]}),
        Override("model", "token-film", {"id": "token-film", "capability": "videos", "offerings": [unpriced]}),
    ]
    with gateway.hub.database.write():
        for one in overrides:
            catalog.put_override(gateway.hub.database, one, 0)
    gateway.add_credential("mine", fake.url)


_POINT: dict[type[House], Callable[[RunningGateway, FakeUpstream], Any]] = {
    DashScope: lambda gateway, fake: gateway.add_credential(
        "alibaba", f"{fake.origin}/compatible-mode/v1", region="cn-beijing"
    ),
    Google: lambda gateway, fake: gateway.add_credential("google", f"{fake.origin}/v1beta"),
    OpenAI: _custom,
    Zhipu: lambda gateway, fake: gateway.add_credential("zhipu", f"{fake.origin}/api/paas/v4", region="cn"),
}


def test_a_video_is_made_charged_once_and_fetched(studio: Studio) -> None:
    before = studio.gateway.balance()
    answer = studio.make(seconds="5", size="1280x720")
    shown = answer.json()
    assert answer.status == 200
    assert answer.headers["x-tokenhub-provider"] == "alibaba"
    assert shown == {
        "id": shown["id"], "object": "video", "model": WAN, "status": "queued", "progress": 0, "created_at": shown["created_at"],
        "completed_at": None, "expires_at": None, "prompt": None, "size": "1280x720", "seconds": "5", "quality": "standard",
        "remixed_from_video_id": None, "error": None,
    }  # fmt: skip
    assert shown["id"] == f"video_{answer.headers['x-request-id'].removeprefix('req_')}"
    assert studio.house.only.asked == {
        "model": WAN,
        "input": {"prompt": "a calico cat playing a piano"},
        "parameters": {"resolution": "720P", "ratio": "16:9", "duration": 5, "watermark": False},
    }
    done = studio.until(shown["id"], "completed")
    charge = 5 * SECOND_720
    assert before - studio.gateway.balance() == charge + fee(charge)
    assert done["progress"] == 100
    assert done["usage"]["units"] == [
        {"kind": "second", "count": 5, "variant": "720p"},
        {"kind": "video", "count": 1, "variant": "720p"},
    ]
    assert done["usage"]["cost_details"]["model_fee"] == "0.43006"
    assert done["completed_at"] >= done["created_at"]
    assert done["expires_at"] - done["completed_at"] in (86_399, 86_400)
    row = studio.request(shown["id"])
    assert (row["end"], row["capability"], row["status"], row["model_fee"]) == ("settled", "videos", 200, charge)
    assert row["held"] == charge + fee(charge) + row["held"] - charge - fee(charge) >= charge + fee(charge)
    assert studio.house.only.keys == {"Bearer sk-upstream-secret-000001"}
    assert studio.holds() == []
    content = studio.get(shown["id"], "/content")
    assert (content.status, content.headers["content-type"], content.body) == (200, "video/mp4", VIDEO)
    receipt = studio.gateway.call("GET", f"/v1/generation?id={answer.headers['x-request-id']}").json()["data"]
    assert receipt["total_cost"] == done["usage"]["cost"]
    assert receipt["units"] == done["usage"]["units"]


def test_the_hold_is_the_jobs_while_it_is_made(studio: Studio) -> None:
    studio.house.states = ("RUNNING",)
    shown = studio.made(seconds=4)
    (hold,) = studio.holds()
    assert (hold["owner"], hold["lease_id"]) == ("job", None)
    assert hold["amount"] >= 4 * SECOND_720 + fee(4 * SECOND_720)
    studio.until(shown["id"], "in_progress")
    content = studio.get(shown["id"], "/content")
    assert (content.status, content.json()["error"]["code"]) == (404, "video_not_ready")


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        ({"code": "InternalError.Algo", "message": "inference failed"}, "InternalError.Algo"),
        ({"code": "DataInspectionFailed", "message": "inappropriate content"}, "content_filter"),
    ],
)
def test_a_failed_video_is_free(studio: Studio, failure: dict[str, str], code: str) -> None:
    assert isinstance(studio.house, DashScope)
    studio.house.states, studio.house.failure = ("RUNNING", "FAILED"), failure
    before = studio.gateway.balance()
    shown = studio.made()
    done = studio.until(shown["id"], "failed")
    assert done["error"]["code"] == code
    assert "Nothing was charged" in done["error"]["message"]
    assert studio.gateway.balance() == before
    row = studio.request(shown["id"])
    assert (row["end"], row["charged"], row["status"]) == ("released", 0, 502)
    assert studio.get(shown["id"], "/content").json()["error"]["code"] == "video_not_made"


def test_a_task_that_its_provider_does_not_know_is_given_up(studio: Studio) -> None:
    studio.house.states = ("UNKNOWN",)
    before = studio.gateway.balance()
    assert studio.until(studio.made()["id"], "failed")["error"]["code"] == "upstream_lost"
    assert studio.gateway.balance() == before


def test_a_video_without_a_result_is_free(studio: Studio) -> None:
    studio.house.states = ("SUCCEEDED",)
    studio.house.url = lambda _: ""  # type: ignore[method-assign]
    before = studio.gateway.balance()
    assert studio.until(studio.made()["id"], "failed")["error"]["code"] == "empty_result"
    assert studio.gateway.balance() == before


def test_more_than_was_held_is_never_charged(studio: Studio) -> None:
    assert isinstance(studio.house, DashScope)
    studio.house.usage = {"duration": 500, "SR": "1080"}
    before = studio.gateway.balance()
    shown = studio.made(seconds="5")
    studio.until(shown["id"], "completed")
    row = studio.request(shown["id"])
    assert row["charged"] == row["held"] == before - studio.gateway.balance()
    assert row["shortfall"] == 500 * SECOND_1080 + fee(500 * SECOND_1080) - row["charged"]


def test_a_video_that_is_being_made_can_be_cancelled_for_nothing(studio: Studio) -> None:
    studio.house.states = ("RUNNING",)
    before = studio.gateway.balance()
    shown = studio.made()
    gone = studio.gateway.call("DELETE", f"/v1/videos/{shown['id']}")
    assert gone.json() == {"id": shown["id"], "object": "video.deleted", "deleted": True}
    assert studio.house.only.cancelled
    assert studio.gateway.balance() == before
    assert studio.request(shown["id"])["error_code"] == "cancelled"
    assert studio.get(shown["id"]).status == 404
    assert studio.gateway.call("DELETE", f"/v1/videos/{shown['id']}").status == 404


def test_deleting_a_video_that_is_complete_at_its_provider_charges_it(studio: Studio) -> None:
    """Who deletes a moment before the gateway looks does not get a finished video for nothing."""
    studio.house.states = ("RUNNING",)
    before = studio.gateway.balance()
    shown = studio.made(seconds=2)
    task = studio.house.only
    studio.house.silent = True  # the rounds learn nothing
    time.sleep(0.1)
    studio.house.silent, task.states = False, ["SUCCEEDED"]
    assert studio.gateway.call("DELETE", f"/v1/videos/{shown['id']}").status == 200
    assert before - studio.gateway.balance() == 2 * SECOND_720 + fee(2 * SECOND_720)
    assert not task.cancelled


def test_videos_are_listed_to_their_account_alone(studio: Studio) -> None:
    ids = [studio.made(seconds=2)["id"] for _ in range(3)]
    for video_id in ids:
        studio.until(video_id, "completed")
    first = studio.gateway.call("GET", "/v1/videos?limit=2").json()
    assert [one["id"] for one in first["data"]] == [ids[2], ids[1]]
    assert (first["object"], first["first_id"], first["last_id"], first["has_more"]) == ("list", ids[2], ids[1], True)
    rest = studio.gateway.call("GET", f"/v1/videos?limit=2&after={ids[1]}").json()
    assert [one["id"] for one in rest["data"]] == [ids[0]]
    assert rest["has_more"] is False
    up = studio.gateway.call("GET", "/v1/videos?order=asc").json()
    assert [one["id"] for one in up["data"]] == ids
    assert studio.gateway.call("GET", "/v1/videos?limit=0").status == 400
    other = accounts.create(studio.gateway.hub, "other").account.id
    stranger = {"Authorization": f"Bearer {keys.create(studio.gateway.hub, other).secret}"}
    assert studio.gateway.call("GET", "/v1/videos", headers=stranger).json()["data"] == []
    for method, rest_of in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        path = f"/v1/videos/{ids[0]}{rest_of}"
        assert studio.gateway.call(method, path, headers=stranger).status == 404
        assert studio.gateway.call(method, path, headers={}).status == 401


def test_a_job_that_is_not_complete_in_time_is_given_up(studio: Studio) -> None:
    studio.house.states = ("RUNNING",)
    before = studio.gateway.balance()
    shown = studio.made()
    with studio.gateway.hub.database.write():
        studio.gateway.hub.database.execute("UPDATE jobs SET expires_at = 1")
    done = studio.until(shown["id"], "failed")
    assert done["error"]["code"] == "expired"
    assert studio.gateway.balance() == before


def test_a_silent_provider_is_asked_again_and_the_job_stays(studio: Studio) -> None:
    studio.house.silent = True
    shown = studio.made(seconds=2)
    deadline = time.monotonic() + 5
    while studio.gateway.rows("SELECT misses FROM jobs")[0]["misses"] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(studio.holds()) == 1
    studio.house.silent = False
    studio.until(shown["id"], "completed")
    assert studio.request(shown["id"])["charged"] == 2 * SECOND_720 + fee(2 * SECOND_720)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"seconds": "61"}, "seconds"),
        ({"seconds": 4.5}, "seconds"),
        ({"seconds": "1"}, "seconds"),
        ({"size": "huge"}, "size"),
        ({"size": "3840x2160"}, "size"),
        ({"n": 2}, "n"),
        ({"stream": True}, "stream"),
        ({"input_reference": {"file_id": "file-1"}}, "input_reference"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_what_cannot_be_made_is_refused_before_a_provider_is_asked(
    studio: Studio, fields: dict[str, Any], param: str
) -> None:
    before = studio.gateway.balance()
    answer = studio.make(**fields)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert studio.house.tasks == {}
    studio.gateway.settled(0)
    assert studio.gateway.balance() == before


def test_a_refused_creation_leaves_nothing(studio: Studio) -> None:
    studio.house.refuse = json_reply({"code": "InvalidParameter", "message": "prompt is bad"}, 400)
    before = studio.gateway.balance()
    assert studio.make().status == 400
    studio.gateway.settled(1)
    assert studio.gateway.balance() == before
    assert studio.gateway.call("GET", "/v1/videos").json()["data"] == []


def test_an_account_without_the_money_is_refused(studio: Studio) -> None:
    key = studio.gateway.add_key(spend_limit_nano=SECOND_720)
    answer = studio.gateway.call(
        "POST", "/v1/videos", {"model": WAN, "prompt": "x", "seconds": 15}, {"Authorization": f"Bearer {key}"}
    )
    assert answer.status == 402
    assert studio.house.tasks == {}


def test_a_store_that_is_busy_while_a_provider_answers_loses_no_job(studio: Studio) -> None:
    """Another program holds the database's lock from the creation at the provider on, for a while."""
    answer = studio.house.answer
    locked = sqlite3.connect(studio.gateway.hub.home.database, check_same_thread=False, isolation_level=None)

    def lock(request: Received) -> Reply:
        if request.method == "POST":
            locked.execute("BEGIN IMMEDIATE")
            threading.Timer(1.0, locked.execute, ("ROLLBACK",)).start()
        return answer(request)

    studio.house.answer = lock  # type: ignore[method-assign]
    shown = studio.made(seconds=2)
    studio.until(shown["id"], "completed")
    assert studio.request(shown["id"])["charged"] == 2 * SECOND_720 + fee(2 * SECOND_720)


def test_fields_that_nobody_reads_are_named(studio: Studio) -> None:
    answer = studio.make(remix="x", fps=30, user="u")
    assert answer.headers["x-tokenhub-dropped"] == "fps,remix"


def test_an_uploaded_image_becomes_the_first_frame(studio: Studio) -> None:
    fields = {
        "model": "wan2.7-i2v", "prompt": "it moves", "seconds": "5", "size": "1280x720",
        "input_reference": Upload("input_reference", "cat.png", "image/png", b"\x89PNG..."),
    }  # fmt: skip
    content_type, pieces = multipart.render(fields)
    headers = {"Authorization": f"Bearer {studio.gateway.key}", "Content-Type": content_type}
    answer = studio.gateway.call("POST", "/v1/videos", b"".join(pieces), headers)
    assert answer.status == 200, answer.body
    asked = studio.house.only.asked
    assert asked["input"]["media"] == [{"type": "first_frame", "url": "data:image/png;base64,iVBORy4uLg=="}]
    assert "ratio" not in asked["parameters"]


# Where results may be fetched


ELSEWHERE = pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/x.mp4",
        "https://evil.example/x.mp4",
        "https://dashscope-x.oss-cn.aliyuncs.com.evil.example/x.mp4",
        "https://dashscope-x.oss-cn.aliyuncs.com@evil.example/x.mp4",
        "https://dashscope-x.oss-cn.aliyuncs.com:8443/x.mp4",
        "file:///etc/passwd",
        "ftp://dashscope-x.oss-cn.aliyuncs.com/x.mp4",
        "soon",
    ],
)


@ELSEWHERE
def test_a_video_at_a_place_that_may_not_be_fetched_from_is_none_and_is_not_charged(studio: Studio, url: str) -> None:
    studio.house.result_url = url
    before = studio.gateway.balance()
    shown = studio.made(seconds=2)
    failed = studio.until(shown["id"], "failed")
    assert failed["error"]["code"] == "result_address"
    assert (studio.gateway.balance(), studio.holds()) == (before, [])
    assert studio.get(shown["id"], "/content").status == 404


@ELSEWHERE
def test_a_result_that_is_elsewhere_now_is_not_fetched(studio: Studio, url: str) -> None:
    shown = studio.made(seconds=2)
    studio.until(shown["id"], "completed")
    studio.house.result_url = url
    answer = studio.get(shown["id"], "/content")
    assert (answer.status, answer.json()["error"]["metadata"]["code"]) == (502, "result_address")
    assert studio.house.fetched == []


def test_another_port_of_the_same_machine_is_another_host(studio: Studio) -> None:
    with FakeUpstream([json_reply({})]) as other:
        shown = studio.made(seconds=2)
        studio.until(shown["id"], "completed")
        studio.house.result_url = f"{other.origin}/secret"
        assert studio.get(shown["id"], "/content").status == 502
        assert not other.received


@pytest.mark.parametrize("location", ["http://[bad", "//[x/y"])
def test_a_redirect_that_leads_nowhere_is_the_providers_fault(studio: Studio, location: str) -> None:
    shown = studio.made(seconds=2)
    studio.until(shown["id"], "completed")
    studio.house.result = lambda _: [head(302, {"Location": location, "Content-Length": "0"})]  # type: ignore[method-assign]
    answer = studio.get(shown["id"], "/content")
    assert (answer.status, answer.json()["error"]["metadata"]["code"]) == (502, "redirect")


@pytest.mark.parametrize(
    ("stated", "status"),
    [("text/html", 502), ("application/json", 502), ("application/octet-stream", 200), ("", 200), ("video/webm", 200)],
)
def test_a_page_in_place_of_a_video_is_not_passed_on(studio: Studio, stated: str, status: int) -> None:
    studio.house.content_type = stated
    shown = studio.made(seconds=2)
    studio.until(shown["id"], "completed")
    answer = studio.get(shown["id"], "/content")
    assert answer.status == status
    if status == 200:
        assert answer.headers["content-type"] == (stated if stated == "video/webm" else "video/mp4")
    else:
        assert answer.json()["error"]["metadata"]["code"] == "not_a_video"


def test_one_account_does_not_keep_others_from_fetching(studio: Studio) -> None:
    """It holds all the places that it may have, reads nothing, and is refused one more; another account is served."""
    shown = studio.made(seconds=2)
    studio.until(shown["id"], "completed")
    hub = studio.gateway.hub
    other_id = accounts.create(hub, "other").account.id
    grants.grant(hub, other_id, 10**11, expires_at_ms=None)
    other = {"Authorization": f"Bearer {keys.create(hub, other_id).secret}"}
    theirs = studio.gateway.call("POST", "/v1/videos", {"model": WAN, "prompt": "x", "seconds": 2}, other).json()["id"]
    deadline = time.monotonic() + 8
    while studio.gateway.call("GET", f"/v1/videos/{theirs}", None, other).json()["status"] != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    studio.house.content = VIDEO + bytes(30_000_000)
    held = []
    for _ in range(video_content.AT_ONCE_OF_ONE):
        one = socket.create_connection(("127.0.0.1", studio.gateway.port))
        one.sendall(
            f"GET /v1/videos/{shown['id']}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {studio.gateway.key}\r\n\r\n".encode()
        )
        assert one.recv(9) == b"HTTP/1.1 "
        held.append(one)
    refused = studio.get(shown["id"], "/content")
    assert (refused.status, refused.json()["error"]["code"]) == (429, "too_many_concurrent")
    assert "retry-after" in refused.headers
    studio.house.content = VIDEO
    assert studio.gateway.call("GET", f"/v1/videos/{theirs}/content", None, other).body == VIDEO
    for one in held:
        one.close()
    while studio.get(shown["id"], "/content").status != 200:
        assert time.monotonic() < deadline + 20
        time.sleep(0.05)


def test_an_absurd_count_of_seconds_ends_like_any_other_and_holds_up_nobody(studio: Studio) -> None:
    studio.house.usage = {"duration": 2**40, "SR": "1080"}  # type: ignore[attr-defined]
    before = studio.gateway.balance()
    first, second = studio.made(seconds=2)["id"], studio.made(seconds=2)["id"]
    for one in (first, second):
        studio.until(one, "completed")
    charge = 2 * SECOND_1080
    assert studio.holds() == []
    assert before - studio.gateway.balance() <= 2 * (charge + fee(charge))


def test_looks_without_an_answer_are_no_word_that_the_video_is_unknown(studio: Studio) -> None:
    """RUNNING, two looks without an answer, one UNKNOWN, then it is there."""
    studio.house.states = ("RUNNING",)
    shown = studio.made(seconds=2)
    task = studio.house.only
    studio.house.silent = True
    deadline = time.monotonic() + 8
    while studio.gateway.rows("SELECT misses FROM jobs")[0]["misses"] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    task.states = ["UNKNOWN", "SUCCEEDED"]
    studio.house.silent = False
    studio.until(shown["id"], "completed")


def test_a_video_that_is_unknown_three_times_in_a_row_is_lost(studio: Studio) -> None:
    studio.house.states = ("RUNNING", "UNKNOWN", "UNKNOWN", "RUNNING", "UNKNOWN", "UNKNOWN", "UNKNOWN", "SUCCEEDED")
    before = studio.gateway.balance()
    failed = studio.until(studio.made(seconds=2)["id"], "failed")
    assert failed["error"]["code"] == "upstream_lost"
    assert (studio.gateway.balance(), studio.house.only.states) == (before, ["SUCCEEDED"])


def test_a_result_that_is_cut_is_not_taken_for_whole(studio: Studio) -> None:
    studio.house.content = VIDEO * 40
    whole = studio.house.result
    studio.house.result = lambda request: [*whole(request)[:1], VIDEO, Cut()]  # type: ignore[method-assign]
    shown = studio.made(seconds=2)
    studio.until(shown["id"], "completed")
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        studio.get(shown["id"], "/content")


def test_one_job_that_cannot_be_read_holds_up_no_other(studio: Studio) -> None:
    """A row whose prices are no prices: it is set aside and told; the one made after it is charged."""
    studio.house.states = ("RUNNING",)
    broken = studio.made(seconds=2)["id"]
    task = studio.house.only
    hub = studio.gateway.hub
    with hub.database.write():
        hub.database.execute("UPDATE jobs SET card = 'x'")
    task.states = ["SUCCEEDED"]
    studio.house.states = ("SUCCEEDED",)
    studio.until(studio.made(seconds=2)["id"], "completed")
    (hold,) = studio.holds()
    assert hold["request_id"] == f"req_{broken.removeprefix('video_')}"
    assert studio.gateway.rows("SELECT error_code FROM jobs WHERE ended_at IS NULL") == [
        {"error_code": "internal_error"}
    ]
    task.states = ["FAILED"]
    with hub.database.write():
        hub.database.execute("UPDATE jobs SET next_poll_at = 1 WHERE ended_at IS NULL")
    studio.until(broken, "failed")


def test_a_job_that_cannot_be_charged_ends_when_its_time_is_over(studio: Studio) -> None:
    studio.house.states = ("RUNNING",)
    broken = studio.made(seconds=2)["id"]
    before = studio.gateway.balance()
    (hold,) = studio.holds()
    hub = studio.gateway.hub
    with hub.database.write():
        hub.database.execute("UPDATE jobs SET card = 'x', expires_at = 1")
    studio.house.only.states = ["SUCCEEDED"]
    studio.until(broken, "failed")
    assert studio.gateway.rows("SELECT state FROM jobs") == [{"state": "expired"}]
    assert (studio.holds(), studio.gateway.balance()) == ([], before + hold["amount"])


def test_an_id_that_can_be_none_is_told_so(studio: Studio) -> None:
    assert studio.gateway.call("GET", "/v1/videos?after=video_%00").status == 400
    assert studio.gateway.call("GET", "/v1/generation?id=%00").status == 404


def test_boundaries_of_a_form_are_kept(studio: Studio) -> None:
    fields = {"model": WAN, "prompt": "x", "provider": json.dumps({"only": ["zhipu"]})}
    content_type, pieces = multipart.render(fields)
    headers = {"Authorization": f"Bearer {studio.gateway.key}", "Content-Type": content_type}
    answer = studio.gateway.call("POST", "/v1/videos", b"".join(pieces), headers)
    assert (answer.status, answer.json()["error"]["code"]) == (403, "no_eligible_provider")
    assert studio.house.tasks == {}


# The other houses


@pytest.mark.parametrize("studio", [Google], indirect=True)
def test_veo(studio: Studio) -> None:
    """0.10 USD a second at 720p, 0.12 at 1080p; the result needs the key and comes by a redirect."""
    before = studio.gateway.balance()
    shown = studio.made("veo-3.1-fast-generate-001", size="720x1280", seconds="6", negative_prompt="rain")
    assert studio.house.only.asked == {
        "instances": [{"prompt": "a calico cat playing a piano"}],
        "parameters": {
            "aspectRatio": "9:16", "durationSeconds": 6, "resolution": "720p", "negativePrompt": "rain",
        },
    }  # fmt: skip
    studio.until(shown["id"], "completed")
    assert before - studio.gateway.balance() == 618_000_000
    content = studio.get(shown["id"], "/content")
    assert (content.status, content.body) == (200, VIDEO)
    assert studio.house.only.keys == {"sk-upstream-secret-000001"}
    assert studio.make("veo-3.1-fast-generate-001", seconds=5).json()["error"]["param"] == "seconds"
    assert studio.make("veo-3.1-fast-generate-001", size="1080p", seconds=4).json()["error"]["param"] == "seconds"
    assert studio.make("veo-3.1-fast-generate-001", size="1024x1024").json()["error"]["param"] == "size"


@pytest.mark.parametrize("studio", [Google], indirect=True)
def test_a_filtered_video_is_free(studio: Studio) -> None:
    studio.house.states = ("running", "filtered")
    before = studio.gateway.balance()
    assert studio.until(studio.made("veo-3.1-generate-001")["id"], "failed")["error"]["code"] == "content_filter"
    assert studio.gateway.balance() == before


@pytest.mark.parametrize("studio", [Zhipu], indirect=True)
def test_cogvideox_is_billed_by_the_video(studio: Studio) -> None:
    before = studio.gateway.balance()
    shown = studio.made("cogvideox-3", size="1920x1080", quality="hd", generate_audio=True)
    assert studio.house.only.asked == {
        "model": "cogvideox-3", "prompt": "a calico cat playing a piano", "size": "1920x1080", "duration": 5,
        "quality": "quality", "with_audio": True,
    }  # fmt: skip
    assert shown["seconds"] == "5"
    studio.until(shown["id"], "completed")
    assert before - studio.gateway.balance() == 143_266_000 + fee(143_266_000)
    assert studio.get(shown["id"], "/content").body == VIDEO
    studio.house.content_type = "image/png"
    cover = studio.get(shown["id"], "/content?variant=thumbnail")
    assert (cover.status, cover.headers["content-type"]) == (200, "image/png")
    assert studio.get(shown["id"], "/content?variant=spritesheet").status == 400
    before = studio.gateway.balance()
    free = studio.made("cogvideox-flash", size="1920x1080")
    studio.until(free["id"], "completed")
    assert studio.gateway.balance() == before
    assert studio.request(free["id"])["end"] == "settled"


@pytest.mark.parametrize("studio", [Zhipu], indirect=True)
def test_a_refused_cogvideox_is_free(studio: Studio) -> None:
    studio.house.states = ("PROCESSING", "FAIL")
    before = studio.gateway.balance()
    assert (
        studio.until(studio.made("cogvideox-3", size="1280x720")["id"], "failed")["error"]["code"] == "content_filter"
    )
    assert studio.gateway.balance() == before


@pytest.mark.parametrize("studio", [OpenAI], indirect=True)
def test_a_server_that_speaks_the_api_itself(studio: Studio) -> None:
    before = studio.gateway.balance()
    shown = studio.made("film", seconds="12", input_reference={"image_url": "https://example.com/cat.png"})
    assert studio.house.only.asked == {
        "model": "film-1", "prompt": "a calico cat playing a piano", "seconds": "12", "size": "720x1280",
        "input_reference": {"image_url": "https://example.com/cat.png"},
    }  # fmt: skip
    studio.until(shown["id"], "completed")
    assert before - studio.gateway.balance() == 120_000_000 + 3_600_000
    assert studio.get(shown["id"], "/content").body == VIDEO
    assert studio.make("token-film").status == 400
    assert len(studio.house.tasks) == 1


# Boundaries that were narrowed since


def narrowed(studio: Studio, scope: str) -> dict[str, str]:
    """Put the house outside of what one scope allows; return the headers of a key that this binds."""
    gateway = studio.gateway
    terms = KeyTerms(models=("gpt-4o-mini",)) if scope == "models" else KeyTerms()
    made = keys.create(gateway.hub, gateway.account_id, terms)
    subjects = {
        "installation": Subject(),
        "plan": Subject("plan", "starter"),
        "account": preferences.account(gateway.account_id),
        "key": preferences.key(made.state.key.id),
    }
    if scope in subjects:
        preferences.change(gateway.hub, subjects[scope], {"deny_regions": ["cn"]})
    return {"Authorization": f"Bearer {made.secret}"}


@pytest.mark.parametrize("scope", ["installation", "plan", "account", "key", "models"])
def test_t103_a_video_outside_the_boundaries_of_who_asks_is_not_fetched(studio: Studio, scope: str) -> None:
    path = f"/v1/videos/{studio.made(seconds=2)['id']}"
    studio.until(path.rpartition("/")[2], "completed")
    headers = narrowed(studio, scope)
    before, connections = len(studio.fake.received), studio.fake.connections
    answer = studio.gateway.call("GET", f"{path}/content", headers=headers)
    assert answer.status == 403
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("permission_denied", "no_eligible_provider")
    assert error["message"].startswith(
        f"{WAN} at alibaba, which this video was asked of, is outside the boundaries of this key"
    )
    (told,) = error["metadata"]["excluded"]
    assert (told["provider"], told["region"], told["model"]) == ("alibaba", "cn-beijing", WAN)
    assert (told["scope"], told["reason"]) == (("key", "key_models") if scope == "models" else (scope, "region_denied"))
    # What is known of it here is shown and forgotten all the same: nobody is asked for that.
    assert studio.gateway.call("GET", path, headers=headers).json()["status"] == "completed"
    assert studio.gateway.call("DELETE", path, headers=headers).status == 200
    assert (len(studio.fake.received), studio.fake.connections) == (before, connections)


def test_a_video_is_fetched_by_the_keys_that_may_call_where_it_was_made(studio: Studio) -> None:
    """One key's boundaries are not another's, and a model that is offered no longer is no boundary."""
    path = f"/v1/videos/{studio.made(seconds=2)['id']}"
    studio.until(path.rpartition("/")[2], "completed")
    narrowed(studio, "key")
    preferences.change(studio.gateway.hub, preferences.account(studio.gateway.account_id), {"regions": ["cn"]})
    assert studio.gateway.call("GET", f"{path}/content").body == VIDEO
    own = keys.create(studio.gateway.hub, studio.gateway.account_id, KeyTerms(models=(f"alibaba/{WAN}",)))
    named = {"Authorization": f"Bearer {own.secret}"}
    assert studio.gateway.call("GET", f"{path}/content", headers=named).body == VIDEO
    with studio.gateway.hub.database.write():
        studio.gateway.hub.database.execute("UPDATE jobs SET model = 'wan-of-old'")
    assert studio.gateway.call("GET", f"{path}/content").body == VIDEO
    assert studio.gateway.call("GET", f"{path}/content", headers=named).status == 403


@pytest.mark.parametrize(("end", "charged"), [("SUCCEEDED", 2 * SECOND_720), ("FAILED", 0)])
def test_t103_a_video_that_is_made_outside_is_not_withdrawn_for_a_key_and_comes_to_its_end(
    studio: Studio, end: str, charged: int
) -> None:
    studio.house.states = ("RUNNING",)
    before = studio.gateway.balance()
    shown = studio.made(seconds=2)
    path = f"/v1/videos/{shown['id']}"
    narrowed(studio, "installation")
    refused = studio.gateway.call("DELETE", path)
    assert refused.status == 403, refused.body
    assert refused.json()["error"]["code"] == "no_eligible_provider"
    assert not studio.house.only.cancelled
    assert [one["owner"] for one in studio.holds()] == ["job"]
    studio.house.only.states = [end]
    studio.until(shown["id"], "completed", "failed")
    assert studio.holds() == []
    assert before - studio.gateway.balance() == charged + fee(charged)
    assert studio.gateway.call("DELETE", path).status == 200
    assert studio.get(shown["id"]).status == 404
    assert before - studio.gateway.balance() == charged + fee(charged)
    assert not studio.house.only.cancelled


# The credential that made it, and what changes meanwhile


def test_a_job_is_asked_for_with_its_own_credential_at_its_own_prices(studio: Studio) -> None:
    """The credential is put out of use, another added, the price raised tenfold: the job does not care."""
    studio.house.states = ("RUNNING",)
    before = studio.gateway.balance()
    shown = studio.made(seconds=5, size="720p")
    hub = studio.gateway.hub
    (mine,) = credentials.listing(hub)
    credentials.set_status(hub, mine.id, "disabled")
    new = credentials.NewCredential(
        provider="alibaba", secret="sk-another-000000000002", base_url=f"{studio.fake.origin}/x/v1", region="cn-beijing"
    )
    credentials.add(hub, new)
    price = {"per_second": {"720P": "0.86", "1080P": "1.43"}}
    with hub.database.write():
        catalog.put_override(hub.database, Override("price", f"alibaba/{WAN}", price), 0)
    studio.house.only.states = ["SUCCEEDED"]
    studio.until(shown["id"], "completed")
    assert studio.house.only.keys == {"Bearer sk-upstream-secret-000001"}
    assert before - studio.gateway.balance() == 5 * SECOND_720 + fee(5 * SECOND_720)
    assert studio.get(shown["id"], "/content").body == VIDEO


def test_a_job_whose_credential_was_deleted_is_given_up_when_its_time_is_over(studio: Studio) -> None:
    studio.house.states = ("RUNNING",)
    before = studio.gateway.balance()
    shown = studio.made()
    (mine,) = credentials.listing(studio.gateway.hub)
    credentials.remove(studio.gateway.hub, mine.id)
    deadline = time.monotonic() + 5
    while not studio.gateway.rows("SELECT 1 FROM jobs WHERE error_code = 'credential_gone'"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(studio.holds()) == 1
    with studio.gateway.hub.database.write():
        studio.gateway.hub.database.execute("UPDATE jobs SET expires_at = 1, next_poll_at = 1")
    assert studio.until(shown["id"], "failed")["error"]["code"] == "expired"
    assert studio.gateway.balance() == before


@contextmanager
def left_after_asking(studio: Studio) -> Iterator[None]:
    """Begin a video and leave when its provider has been asked; inside, it has not answered yet."""
    answer, asked, may_answer = studio.house.answer, threading.Event(), threading.Event()

    def slowly(request: Received) -> Reply:
        reply = answer(request)
        if request.method != "POST":
            return reply
        asked.set()
        return [WaitFor(may_answer), *reply]

    studio.house.answer = slowly  # type: ignore[method-assign]
    with RawClient(studio.gateway.port) as client:
        client.send(post(studio.gateway.key, {"model": WAN, "prompt": "x", "seconds": 2}, path="/v1/videos"))
        assert asked.wait(5)
        client.reset()
    assert studio.gateway.gateway is not None
    server = studio.gateway.gateway._server
    assert eventually(lambda: not server.connections)
    yield
    may_answer.set()


def test_a_client_that_leaves_leaves_its_video_behind(studio: Studio) -> None:
    """Its provider has been asked and makes it all the same, so it is kept, listed and charged: whoever left can still fetch it."""
    before = studio.gateway.balance()
    with left_after_asking(studio):
        assert [hold["owner"] for hold in studio.holds()] == ["request"]
    assert eventually(lambda: studio.gateway.call("GET", "/v1/videos").json()["data"])
    (listed,) = studio.gateway.call("GET", "/v1/videos").json()["data"]
    assert studio.until(listed["id"], "completed")["seconds"] == "2"
    assert studio.get(listed["id"], "/content").body == VIDEO
    assert before - studio.gateway.balance() == 2 * SECOND_720 + fee(2 * SECOND_720)


def test_a_video_that_is_refused_after_its_client_has_left_is_free(studio: Studio) -> None:
    studio.house.refuse = json_reply({"code": "InvalidParameter", "message": "no"}, 400)
    before = studio.gateway.balance()
    with left_after_asking(studio):
        pass
    (row,) = studio.gateway.settled(1)
    assert (row["end"], row["status"], studio.gateway.balance()) == ("released", 400, before)


def test_t80_no_other_provider_is_asked_for_a_video_after_its_client_has_left(studio: Studio) -> None:
    _POINT[DashScope](studio.gateway, studio.fake)  # a second credential
    studio.house.refuse = json_reply({"code": "InternalError", "message": "no"}, 500)
    with left_after_asking(studio):
        pass
    (row,) = studio.gateway.settled(1)
    assert (row["end"], row["error_code"], len(json.loads(row["attempts"]))) == ("released", "client_left", 1)
    assert [request.method for request in studio.fake.received].count("POST") == 1


def test_a_client_that_leaves_before_a_provider_is_asked_has_no_video_made(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_hold = admission.place_hold

    async def leave_and_place(exchange: Any, runtime: Any) -> None:
        exchange.downstream.abort()
        await place_hold(exchange, runtime)

    monkeypatch.setattr(admission, "place_hold", leave_and_place)
    with pytest.raises(ConnectionError):
        studio.make()
    (row,) = studio.gateway.settled(1)
    assert (row["end"], row["error_code"]) == ("released", "client_left")
    assert (studio.house.tasks, studio.gateway.rows("SELECT 1 FROM jobs")) == ({}, [])


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_the_openai_sdk_makes_polls_lists_fetches_and_deletes(studio: Studio) -> None:
    """``client.videos`` of the published SDK; it sends a form."""
    with openai.OpenAI(base_url=studio.gateway.base_url, api_key=studio.gateway.key, max_retries=0) as client:
        made = client.videos.create_and_poll(
            model=WAN, prompt="a cat", seconds="4", size="1280x720", input_reference=("cat.png", b"PNG", "image/png"), poll_interval_ms=50
        )  # fmt: skip
        assert (made.status, made.progress, made.seconds) == ("completed", 100, "4")
        assert [one.id for one in client.videos.list()] == [made.id]
        assert client.videos.download_content(made.id).read() == VIDEO
        assert client.videos.delete(made.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.videos.retrieve(made.id)
    assert studio.house.only.asked["input"]["media"][0]["url"] == "data:image/png;base64,UE5H"
