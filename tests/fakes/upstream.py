"""A scripted upstream on a real socket: says any bytes, waits, cuts, resets, and records who called.

    async with FakeUpstream([json_reply(openai_chat("Hello"))]) as fake: ...     # in this loop
    with FakeUpstream(lambda request: json_reply({})) as fake: ...               # in a thread of its own
    with in_process(canned_chat) as base_url: ...                                # in a process of its own

A *script* is a function of the request, or a list of replies used up in order. A *reply* is a
list of steps: bytes to write, or one of the steps below. HTTP is written out by the reply
helpers and never by the server, so that it can be wrong in any way a test wants.
"""

import asyncio
import contextlib
import json
import multiprocessing
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Pause:
    """Say nothing for so many seconds (or until the client leaves)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection (FIN), whatever was promised."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Tear the connection down (RST)."""


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Send FIN, go on reading."""


@dataclass(frozen=True, slots=True)
class WaitForClientClose:
    """Hold the connection open until the client has left."""


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Go on when the test sets this event."""

    event: threading.Event


Step = bytes | Pause | Cut | Reset | HalfClose | WaitForClientClose | WaitFor
Reply = Sequence[Step]


@dataclass(eq=False)
class Received:
    """One request as it arrived, and what became of its sender."""

    number: int
    connection: int
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    at: float
    answered: bool = False
    """Every step of its reply was done."""
    left_at: float | None = None
    left_how: str = ""
    """``fin`` or ``reset``, when the client left before the reply was done."""
    gone: threading.Event = field(default_factory=threading.Event)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)


Script = Callable[[Received], Reply] | Sequence[Reply]


class FakeUpstream:
    """The server; ``url`` is where it listens, ``received`` what it got."""

    def __init__(self, script: Script = (), *, tls: ssl.SSLContext | None = None, keep: int = 100_000) -> None:
        self.script: Callable[[Received], Reply] = script if callable(script) else self._next_reply
        self.replies: deque[Reply] = deque(() if callable(script) else script)
        self.received: deque[Received] = deque(maxlen=keep)
        self.connections = 0
        self.open = 0
        self._tls = tls
        self._count = 0
        self._peers: set[_Peer] = set()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._server: asyncio.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base URL an OpenAI-compatible credential would have."""
        return self.origin + "/v1"

    def add(self, *replies: Reply) -> None:
        self.replies.extend(replies)

    def _next_reply(self, request: Received) -> Reply:
        if not self.replies:
            return json_reply({"error": {"message": f"the script has no reply for request {request.number}"}}, 599)
        return self.replies.popleft()

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(lambda: _Peer(self), sock=self._socket, ssl=self._tls)

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        tasks = [peer.task for peer in self._peers if peer.task is not None]
        for peer in list(self._peers):
            peer.shut()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._server = None

    async def __aenter__(self) -> "FakeUpstream":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> "FakeUpstream":
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(self.start())
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.run_until_complete(self.stop())
        loop.close()


class _Peer(asyncio.Protocol):
    """One connection: reads requests one after another, plays the reply of each."""

    def __init__(self, fake: FakeUpstream) -> None:
        self.fake = fake
        self.buffer = bytearray()
        self.wake = asyncio.Event()
        self.left = asyncio.Event()
        self.how = ""
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fake.connections += 1
        self.fake.open += 1
        self.number = self.fake.connections
        self.fake._peers.add(self)
        self.can_write = asyncio.Event()
        self.can_write.set()
        self.task = asyncio.ensure_future(self.serve())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.wake.set()

    def eof_received(self) -> bool:
        self._gone("fin")
        return self.fake._tls is None  # a TLS transport cannot stay half open

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone("reset" if exc else "fin")
        self.can_write.set()
        self.fake.open -= 1
        self.fake._peers.discard(self)

    def pause_writing(self) -> None:
        self.can_write.clear()

    def resume_writing(self) -> None:
        self.can_write.set()

    def _gone(self, how: str) -> None:
        self.how = self.how or how
        self.left.set()
        self.wake.set()

    def shut(self) -> None:
        self.transport.abort()
        if self.task is not None:
            self.task.cancel()

    async def serve(self) -> None:
        try:
            while (request := await self.request()) is not None:
                self.fake.received.append(request)
                watcher = asyncio.ensure_future(self.watch(request))
                try:
                    open_still = await self.play(self.fake.script(request))
                    request.answered = not self.left.is_set()
                finally:
                    watcher.cancel()
                    self.note_leaving(request)
                if not open_still:
                    return
        finally:
            self.transport.close()

    async def watch(self, request: Received) -> None:
        await self.left.wait()
        self.note_leaving(request)

    def note_leaving(self, request: Received) -> None:
        if self.left.is_set() and not request.gone.is_set():
            request.left_at, request.left_how = time.monotonic(), self.how
            request.gone.set()

    async def need(self, size: int) -> bool:
        while len(self.buffer) < size:
            if self.left.is_set():
                return False
            self.wake.clear()
            await self.wake.wait()
        return True

    async def request(self) -> Received | None:
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            if not await self.need(len(self.buffer) + 1):
                return None
        lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        del self.buffer[: end + 4]
        method, path, _ = lines[0].split(" ", 2)
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        size = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        if not await self.need(size):
            return None
        body = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.fake._count += 1
        return Received(self.fake._count, self.number, method, path, headers, body, time.monotonic())

    async def play(self, reply: Reply) -> bool:
        """Do the steps; return whether the connection is still open."""
        for step in reply:
            if self._is_broken():
                return False
            if isinstance(step, bytes):
                self.transport.write(step)
                await self.can_write.wait()
                if b"\r\nconnection: close\r\n" in step.lower() and step is reply[-1]:
                    return False
            elif isinstance(step, Pause):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.left.wait(), step.seconds)
            elif isinstance(step, WaitFor):
                while not step.event.is_set() and not self.left.is_set():
                    await asyncio.sleep(0.005)
            elif isinstance(step, WaitForClientClose):
                await self.left.wait()
                return False
            elif isinstance(step, HalfClose):
                self.transport.write_eof()
            elif isinstance(step, Reset):
                raw = self.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.transport.abort()
                return False
            else:
                self.transport.close()
                return False
        return not self._is_broken()

    def _is_broken(self) -> bool:
        """Whether a write has met a reset, of which ``connection_lost`` tells only later."""
        if self.transport.is_closing():
            self._gone("reset")
        return bool(self.transport.is_closing())


# ---- replies ---------------------------------------------------------------------------------


def head(status: int = 200, headers: Mapping[str, str] | None = None, reason: str = "OK") -> bytes:
    """A status line and headers, with the blank line."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1")


def json_reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A whole JSON reply with its length."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [
        head(status, {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}) + data
    ]


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def sse_reply(
    frames: Sequence[bytes | Pause | Cut | Reset | WaitFor | WaitForClientClose],
    *,
    framing: str = "chunked",
    pause_s: float = 0.0,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """An event stream: one write a frame; ``framing`` is chunked, length or close."""
    named = {"Content-Type": "text/event-stream", **(headers or {})}
    size = sum(len(frame) for frame in frames if isinstance(frame, bytes))
    named |= {
        "chunked": {"Transfer-Encoding": "chunked"},
        "length": {"Content-Length": str(size)},
        "close": {"Connection": "close"},
    }[framing]
    steps: list[Step] = [head(status, named)]
    for frame in frames:
        if isinstance(frame, bytes):
            steps.append(chunk(frame) if framing == "chunked" else frame)
            if pause_s:
                steps.append(Pause(pause_s))
        else:
            steps.append(frame)
    steps.append(LAST_CHUNK if framing == "chunked" else b"")
    if framing == "close":
        steps.append(Cut())
    return steps


def sse(data: Any, event: str | None = None) -> bytes:
    """One server-sent event; ``data`` is text or something for JSON."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return ((f"event: {event}\n" if event else "") + f"data: {text}\n\n").encode()


DONE = sse("[DONE]")


# ---- what the providers say ------------------------------------------------------------------


def openai_usage(prompt: int = 9, completion: int = 3, *, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
    }


def openai_chat(
    content: str | None = "Hello there",
    *,
    model: str = "gpt-4o-mini-2024-07-18",
    usage: dict[str, Any] | None = None,
    tool_calls: Sequence[dict[str, Any]] | None = None,
    finish_reason: str | None = None,
    **message: Any,
) -> dict[str, Any]:
    """A whole OpenAI chat completion; ``usage={}`` leaves usage out."""
    said: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, **message}
    if tool_calls:
        said["tool_calls"] = list(tool_calls)
    reason = finish_reason or ("tool_calls" if tool_calls else "stop")
    reply = {
        "id": "chatcmpl-fake00000000000000000000001",
        "object": "chat.completion",
        "created": 1763800000,
        "model": model,
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": reason}],
        "usage": openai_usage() if usage is None else usage,
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }
    if usage == {}:
        del reply["usage"]
    return reply


def openai_chunk(
    delta: dict[str, Any], finish_reason: str | None = None, *, model: str = "gpt-4o-mini-2024-07-18", **top: Any
) -> bytes:
    return sse(
        {
            "id": "chatcmpl-fake00000000000000000000002",
            "object": "chat.completion.chunk",
            "created": 1763800000,
            "model": model,
            "system_fingerprint": "fp_fake",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
            **top,
        }
    )


def openai_stream(
    pieces: Sequence[str] = ("Hello", " there"),
    *,
    usage: dict[str, Any] | None = None,
    finish_reason: str = "stop",
    done: bool = True,
    model: str = "gpt-4o-mini-2024-07-18",
) -> list[bytes]:
    """Frames of a streamed OpenAI chat completion; ``usage={}`` leaves the usage chunk out."""
    frames = [openai_chunk({"role": "assistant", "content": "", "refusal": None}, model=model, usage=None)]
    frames += [openai_chunk({"content": piece}, model=model, usage=None) for piece in pieces]
    frames.append(openai_chunk({}, finish_reason, model=model, usage=None))
    if usage != {}:
        frames.append(openai_chunk({}, model=model, choices=[], usage=usage or openai_usage()))
    return [*frames, DONE] if done else frames


def openai_tool_call(
    name: str = "get_weather", arguments: str = '{"city":"Paris"}', id: str = "call_fake1"
) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def openai_embeddings(
    vectors: Sequence[Any] = ((0.5, -0.25, 0.125),), *, model: str = "text-embedding-3-small", prompt: int = 5
) -> dict[str, Any]:
    """An embeddings reply; a vector may also be a base64 text."""
    rows = [
        {"object": "embedding", "index": i, "embedding": v if isinstance(v, str) else list(v)}
        for i, v in enumerate(vectors)
    ]
    return {"object": "list", "data": rows, "model": model, "usage": {"prompt_tokens": prompt, "total_tokens": prompt}}


def openai_error(
    message: str, type: str = "invalid_request_error", code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def anthropic_usage(input: int = 12, output: int = 6, *, read: int = 0, write: int = 0) -> dict[str, Any]:
    return {
        "input_tokens": input,
        "cache_creation_input_tokens": write,
        "cache_read_input_tokens": read,
        "output_tokens": output,
        "service_tier": "standard",
    }


def anthropic_message(
    text: str = "Hello there",
    *,
    model: str = "claude-sonnet-4-5-20250929",
    content: Sequence[dict[str, Any]] | None = None,
    stop_reason: str = "end_turn",
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A whole Anthropic message."""
    return {
        "id": "msg_fake0000000000000000001",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}] if content is None else list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage or anthropic_usage(),
    }


def anthropic_event(type: str, **fields: Any) -> bytes:
    return sse({"type": type, **fields}, event=type)


def anthropic_stream(
    pieces: Sequence[str] = ("Hello", " there"),
    *,
    model: str = "claude-sonnet-4-5-20250929",
    stop_reason: str = "end_turn",
    usage: dict[str, Any] | None = None,
    stop: bool = True,
) -> list[bytes]:
    """Frames of a streamed Anthropic message with one text block."""
    counted = usage or anthropic_usage()
    start = anthropic_message(content=[], model=model, usage={**counted, "output_tokens": 1}) | {"stop_reason": None}
    frames = [
        anthropic_event("message_start", message=start),
        anthropic_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        anthropic_event("ping"),
        *(
            anthropic_event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
            for piece in pieces
        ),
        anthropic_event("content_block_stop", index=0),
        anthropic_event("message_delta", delta={"stop_reason": stop_reason, "stop_sequence": None}, usage=counted),
    ]
    return [*frames, anthropic_event("message_stop")] if stop else frames


def anthropic_error(type: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_fake0000000000000001"}


def gemini_usage(prompt: int = 8, candidates: int = 4, thoughts: int = 0) -> dict[str, Any]:
    usage = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "totalTokenCount": prompt + candidates + thoughts,
    }
    return usage | ({"thoughtsTokenCount": thoughts} if thoughts else {})


def gemini_reply(
    text: str = "Hello there",
    *,
    model: str = "gemini-2.5-flash",
    parts: Sequence[dict[str, Any]] | None = None,
    finish_reason: str | None = "STOP",
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A whole generateContent reply, or one event of a stream."""
    candidate: dict[str, Any] = {
        "content": {"parts": [{"text": text}] if parts is None else list(parts), "role": "model"},
        "index": 0,
    }
    if finish_reason:
        candidate["finishReason"] = finish_reason
    return {
        "candidates": [candidate],
        "usageMetadata": usage or gemini_usage(),
        "modelVersion": model,
        "responseId": "fakeResponse01",
    }


def gemini_stream(
    pieces: Sequence[str] = ("Hello", " there"), *, usage: dict[str, Any] | None = None, finish: bool = True
) -> list[bytes]:
    """Frames of a streamed generateContent reply, CRLF-framed as Google sends them."""
    last = len(pieces) - 1
    replies = [
        gemini_reply(piece, finish_reason="STOP" if finish and i == last else None, usage=usage)
        for i, piece in enumerate(pieces)
    ]
    return [b"data: " + json.dumps(reply).encode() + b"\r\n\r\n" for reply in replies]


def gemini_embeddings(vectors: Sequence[Sequence[float]] = ((0.5, -0.25, 0.125),)) -> dict[str, Any]:
    return {"embeddings": [{"values": list(vector)} for vector in vectors]}


def gemini_error(code: int, status: str, message: str, details: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


# ---- in a process of its own, for benchmarks -------------------------------------------------


def canned_chat() -> Script:
    """The same whole chat completion, or a stream of 200 chunks if the body asks for one."""
    plain = json_reply(openai_chat("word " * 60))
    stream = sse_reply(openai_stream(["word "] * 200))
    return lambda request: stream if b'"stream":true' in request.body else plain


def _serve(factory: Callable[[], Script], port: Any) -> None:
    with FakeUpstream(factory(), keep=1) as fake:
        port.send(fake.port)
        with contextlib.suppress(EOFError, OSError):
            port.recv()


@contextlib.contextmanager
def in_process(factory: Callable[[], Script] = canned_chat) -> Iterator[str]:
    """Run a fake upstream in a spawned process; yields its base URL. ``factory`` must be importable."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(factory, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        with contextlib.suppress(OSError):
            ours.send(None)
        process.join(10)
        if process.is_alive():
            process.kill()
