"""Recorded exchanges about images, played to a running gateway: what the client gets, and what is paid.

The recordings lie beside the project (../shared/wire) and are not part of it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.gallery import Gallery, assert_free, assert_paid, open_gallery, units_of
from tests.fakes.stage import whole
from tests.fakes.upstream import Reply

RECORDINGS = Path(__file__).parents[2] / "../shared/wire"
pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings (../shared/wire) are not here")

FEES = {
    "openai/images-plain-plain-ecd919.json": 40_000_000,
    "openai/images-plain-plain-ef4648.json": 20_000_000,
    "openai/images-plain-plain-14068c.json": 2 * 20_000_000,
    "openai/images-plain-plain-c016d0.json": 43 * 5_000 + 388 * 8_000 + 308 * 10_000 + 1056 * 32_000,
    "openai/images-plain-plain-4a77b1.json": 10 * 5_000 + 4160 * 40_000,
    "google/images-plain-plain-7e215e.json": 2 * 30_000_000,
}
"""Model fee in nano-USD, reckoned by hand from each recording and the prices of ``gallery.OWN_MODELS`` and the catalogue."""
FILTERED = "google/images-plain-plain-9ca315.json"
REFUSED = {"openai/error-plain-400-images-e88f2c.json", "google/error-plain-400-images-015aae.json"}
TASKS = {"c35b7a013", "c0a544c9b"}
TASK_FEE = 4 * 20_000_000


def index() -> list[dict[str, Any]]:
    if not RECORDINGS.is_dir():
        return []
    exchanges = json.loads((RECORDINGS / "index.json").read_text(encoding="utf-8"))["exchanges"]
    return [one for one in exchanges if one["kind"] == "images" or one["endpoint"] == "images"]


def recorded(file: str) -> dict[str, Any]:
    return json.loads((RECORDINGS / file).read_text(encoding="utf-8"))


def reply_of(recording: dict[str, Any]) -> Reply:
    response = recording["response"]
    return whole(json.dumps(response["body"]).encode(), response["status"], {"Content-Type": "application/json"})


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    with open_gallery(tmp_path_factory.mktemp("replay")) as opened:
        yield opened


def asked(recording: dict[str, Any], model: str | None) -> tuple[str, dict[str, Any]]:
    """Return the path and the fields of the recorded request, or of a plain one where none was kept."""
    sent = recording["request"]["body"] or {}
    path = "edits" if recording["request"]["path"].endswith("edits") else "generations"
    fields = {name: sent[name] for name in sent if recording["provider"] == "openai"}
    return path, {"model": model or "dall-e-2", "prompt": "a cat", "n": 4 if not fields else None, **fields}


def test_every_recording_of_images_is_played() -> None:
    played = {*FEES, FILTERED, *REFUSED}
    rest = {one["file"] for one in index() if one["conversation"] not in TASKS}
    assert rest == played
    assert len(index()) == 17


@pytest.mark.parametrize("file", FEES)
def test_a_recorded_reply_reaches_the_client_and_the_bill_as_it_was(gallery: Gallery, file: str) -> None:
    recording = recorded(file)
    model = next(one["model"] for one in index() if one["file"] == file)
    path, fields = asked(recording, model)
    gallery.play(reply_of(recording))
    answer = gallery.ask(fields.pop("model"), path, **fields)
    assert answer.status == 200, answer.body
    found, said = answer.json(), recording["response"]["body"]
    usage = found.pop("usage")
    if recording["provider"] == "openai":
        assert found == {name: value for name, value in said.items() if name != "usage"}
        assert said.get("usage", {}).items() <= usage.items()
        assert gallery.received[0].json().items() >= (recording["request"]["body"] or {}).items()
        assert gallery.received[0].path == recording["request"]["path"]
    else:
        assert [one["b64_json"] for one in found["data"]] == [
            one["bytesBase64Encoded"] for one in said["predictions"] if "bytesBase64Encoded" in one
        ]
    row = gallery.row(answer)
    assert_paid(row, FEES[file])
    assert units_of(row)[0]["count"] == len(found["data"])


@pytest.mark.parametrize("file", sorted(REFUSED | {FILTERED}))
def test_a_recorded_refusal_is_told_and_free(gallery: Gallery, file: str) -> None:
    recording = recorded(file)
    path, fields = asked(recording, next(one["model"] for one in index() if one["file"] == file))
    gallery.play(reply_of(recording))
    answer = gallery.ask(fields.pop("model"), path, **fields)
    assert answer.status == 400, answer.body
    assert answer.json()["error"]["code"] == ("content_filter" if "google" in file else "invalid_request_error")
    assert_free(gallery.row(answer))


@pytest.mark.parametrize("conversation", sorted(TASKS))
def test_a_recorded_task_is_polled_to_its_end(gallery: Gallery, conversation: str) -> None:
    files = [one["file"] for one in index() if one["conversation"] == conversation]
    steps = sorted((recorded(file) for file in files), key=lambda one: one["seq"])
    made, *polls = steps
    gallery.play(*(reply_of(one) for one in steps))
    answer = gallery.ask("wanx-v1", prompt=made["request"]["body"]["input"]["prompt"], n=4)
    assert answer.status == 200, answer.body
    assert answer.json()["data"] == polls[-1]["response"]["body"]["output"]["results"]
    received = gallery.received
    assert [one.path for one in received] == [one["request"]["path"] for one in steps]
    assert received[0].json() == made["request"]["body"] | {"parameters": {"n": 4}}
    assert_paid(gallery.row(answer), TASK_FEE)
