"""Providers that make videos, in their own words: DashScope, Google, Zhipu, and OpenAI's dead API. Scripts of a FakeUpstream.

A task goes through ``states`` one look at a time and stays at the last; the test changes a
task, or the house's defaults, as it likes. Everything is decided by what was asked, so several
gateways can ask at once.
"""

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.upstream import Received, Reply, head, json_reply

VIDEO = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 64


@dataclass
class Task:
    id: str
    asked: dict[str, Any]
    key: str
    states: list[str]
    looks: int = 0
    cancelled: bool = False
    keys: set[str] = field(default_factory=set)
    """The keys with which it was asked for."""

    def look(self) -> str:
        self.looks += 1
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


class House:
    """What the houses share; ``states`` of new tasks are in their provider's words."""

    states: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.lock = threading.Lock()
        self.origin = ""
        self.content: bytes = VIDEO
        self.content_type = "video/mp4"
        self.fetched: list[Received] = []
        self.result_url = ""
        """Instead of the house's own."""
        self.refuse: Reply | None = None
        """Instead of a creation's reply."""
        self.silent = False
        """Looks are answered with 503."""

    def __call__(self, request: Received) -> Reply:
        with self.lock:
            return self.answer(request)

    def answer(self, request: Received) -> Reply:
        raise AssertionError("a house of its own answers")

    def make(self, request: Received) -> Task:
        key = request.header("authorization") or request.header("x-goog-api-key") or ""
        task = Task(f"task-{len(self.tasks) + 1:04}", request.json(), key, list(self.states))
        self.tasks[task.id] = task
        return task

    def seen(self, task_id: str, request: Received) -> Task | None:
        task = self.tasks.get(task_id)
        if task is not None:
            task.keys.add(request.header("authorization") or request.header("x-goog-api-key") or "")
        return task

    def url(self, task: Task) -> str:
        return self.result_url or f"{self.origin}/results/{task.id}.mp4?Signature=abc"

    def result(self, request: Received) -> Reply:
        self.fetched.append(request)
        sent = {"Content-Type": self.content_type, "Content-Length": str(len(self.content))}
        return [head(200, sent), self.content]

    @property
    def only(self) -> Task:
        (task,) = self.tasks.values()
        return task


class DashScope(House):
    states = ("PENDING", "RUNNING", "SUCCEEDED")

    def __init__(self) -> None:
        super().__init__()
        self.usage: dict[str, Any] | None = None
        """Instead of one that fits what was asked."""
        self.failure = {"code": "InternalError.Algo", "message": "inference failed"}

    def answer(self, request: Received) -> Reply:
        path = request.path.partition("?")[0]
        if path.startswith("/results/"):
            return self.result(request)
        if path == "/api/v1/services/aigc/video-generation/video-synthesis":
            if self.refuse is not None:
                return self.refuse
            assert request.header("x-dashscope-async") == "enable"
            task = self.make(request)
            return json_reply({"request_id": "r", "output": {"task_id": task.id, "task_status": "PENDING"}})
        task_id = path.removeprefix("/api/v1/tasks/").removesuffix("/cancel")
        task = self.seen(task_id, request)
        if self.silent:
            return json_reply({"code": "ServiceUnavailable", "message": "busy"}, 503)
        if task is None:
            return json_reply({"output": {"task_id": task_id, "task_status": "UNKNOWN"}})
        if path.endswith("/cancel"):
            task.cancelled = True
            return json_reply({"request_id": "r"})
        status = task.look()
        output: dict[str, Any] = {"task_id": task.id, "task_status": status}
        if status == "FAILED":
            return json_reply({"request_id": "r", "output": output | self.failure})
        if status != "SUCCEEDED":
            return json_reply({"request_id": "r", "output": output})
        asked = task.asked["parameters"]
        usage = self.usage or {"duration": asked["duration"], "SR": int(asked["resolution"][:-1]), "video_count": 1}
        return json_reply({"request_id": "r", "output": output | {"video_url": self.url(task)}, "usage": usage})


class Google(House):
    states = ("running", "done")

    def answer(self, request: Received) -> Reply:
        path = request.path.partition("?")[0]
        if path.endswith(":predictLongRunning"):
            model = path.removeprefix("/v1beta/models/").partition(":")[0]
            task = self.make(request)
            return json_reply({"name": f"models/{model}/operations/{task.id}"})
        if path.startswith("/v1beta/files/"):  # the recorded flow: the key, then a redirect
            if request.header("x-goog-api-key") is None:
                return json_reply({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no key"}}, 403)
            return [head(302, {"Location": f"/download{path}", "Content-Length": "0"}, "Found")]
        if path.startswith("/download/"):
            return self.result(request)
        task = self.seen(path.rpartition("/")[2], request)
        if task is None:
            return json_reply({"error": {"code": 404, "status": "NOT_FOUND", "message": "no such operation"}}, 404)
        name = path.removeprefix("/v1beta/")
        state = task.look()
        if state == "running":
            return json_reply({"name": name})
        if state == "filtered":
            made: dict[str, Any] = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["no"]}
        else:
            uri = self.result_url or f"{self.origin}/v1beta/files/{task.id}:download?alt=media"
            made = {"generatedSamples": [{"video": {"uri": uri}}]}
        return json_reply({"name": name, "done": True, "response": {"generateVideoResponse": made}})


class Zhipu(House):
    states = ("PROCESSING", "SUCCESS")

    def answer(self, request: Received) -> Reply:
        path = request.path.partition("?")[0]
        if path.startswith("/results/"):
            return self.result(request)
        if path.endswith("/videos/generations"):
            task = self.make(request)
            return json_reply({"id": task.id, "model": "m", "request_id": "r", "task_status": "PROCESSING"})
        task = self.seen(path.rpartition("/")[2], request)
        if task is None:
            return json_reply({"error": {"code": "1211", "message": "no such task"}}, 404)
        status = task.look()
        body: dict[str, Any] = {"model": "m", "request_id": "r", "task_status": status}
        if status == "SUCCESS":
            body["video_result"] = [{"url": self.url(task), "cover_image_url": f"{self.origin}/results/cover.png"}]
        if status == "FAIL":
            body["error"] = {"code": "1301", "message": "unsafe"}
        return json_reply(body)


class OpenAI(House):
    states = ("queued", "in_progress", "completed")

    def answer(self, request: Received) -> Reply:
        path = request.path.partition("?")[0]
        if path.endswith("/content"):
            return self.result(request)
        if request.method == "POST":
            task = self.make(request)
            return json_reply({"id": task.id, "object": "video", "status": "queued", "model": "m", "progress": 0})
        task = self.seen(path.rpartition("/")[2], request)
        if task is None:
            return json_reply({"error": {"message": "not found", "type": "invalid_request_error"}}, 404)
        if request.method == "DELETE":
            task.cancelled = True
            return json_reply({"id": task.id, "object": "video.deleted", "deleted": True})
        status = task.look()
        body = {"id": task.id, "object": "video", "status": status, "progress": 50, "seconds": task.asked["seconds"]}
        return json_reply(json.loads(json.dumps(body | {"size": task.asked["size"]})))
