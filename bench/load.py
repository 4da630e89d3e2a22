"""The load client: keep-alive connections that ask for answers and check and time every one of them.

    python -m bench.load --port 8080 --connections 32 --seconds 3 --body body.json --header 'authorization: Bearer …'

Without ``--rate`` each connection asks again as soon as it was answered (closed loop). With
it, requests are due at fixed moments and a latency counts from then, so that a slow answer
is not hidden by the questions it held up. Nothing is asked after the time is over, but all
that was asked is waited for: CPU time divided by answers is then exact. Prints one JSON object.
"""

import argparse
import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

LAST_WAIT_S = 30.0
ENDS = (b"data: [DONE]", b"event: message_stop", b"event: response.completed")
"""How a whole stream ends, in each dialect that is asked for."""
LAST_BYTES = 16_384
"""Where the end is looked for: the last event of a response repeats its whole text."""

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_STAMP = re.compile(rb"~T(\d{19})")


@dataclass(slots=True)
class Findings:
    """What all connections saw."""

    latency_us: list[float] = field(default_factory=list)
    first_byte_us: list[float] = field(default_factory=list)
    chunk_us: list[float] = field(default_factory=list)
    """Delay between the sending and the arrival of each stamped chunk."""
    events: int = 0
    errors: int = 0
    why: str = ""

    def fail(self, why: str) -> None:
        """Count a failed answer; the first reason is kept."""
        self.errors += 1
        self.why = self.why or why


class Chunked:
    """Takes HTTP chunked framing off a body."""

    def __init__(self) -> None:
        self.rest = b""
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Return the payload in the next bytes; ``complete`` is set by the last chunk."""
        data = self.rest + data if self.rest else data
        payload, at = [], 0
        while (line_end := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:line_end], 16)
            end = line_end + 2 + size + 2
            if len(data) < end:
                break
            if not size:
                self.complete = True
                at = end
                break
            payload.append(data[line_end + 2 : end - 2])
            at = end
        self.rest = data[at:]
        return b"".join(payload)


class Connection(asyncio.Protocol):
    """One connection: asks, reads the answer, and tells ``run`` that it is idle."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.transport: asyncio.Transport
        self.due_ns = 0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, due_ns: int) -> None:
        """Send the request; its latency counts from ``due_ns``."""
        self.busy = True
        self.due_ns = due_ns
        self.head = b""
        self.left: int | None = None
        self.chunked: Chunked | None = None
        self.body: list[bytes] = []
        self.transport.write(self.run.request)

    def data_received(self, data: bytes) -> None:
        if self.left is None and self.chunked is None:
            data = self.read_head(data)
            if not data:
                return
            self.run.findings.first_byte_us.append((time.monotonic_ns() - self.due_ns) / 1000)
        if self.chunked is not None:
            data = self.chunked.feed(data)
            self.note_stamps(data)
            self.body.append(data)
            if self.chunked.complete:
                self.finish()
        else:
            assert self.left is not None
            self.left -= len(data)
            self.body.append(data)
            if self.left <= 0:
                self.finish()

    def read_head(self, data: bytes) -> bytes:
        self.head += data
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return b""
        rest, self.head = self.head[end + 4 :], self.head[: end + 2]
        length = _LENGTH.search(self.head)
        if length:
            self.left = int(length[1])
        else:
            self.chunked = Chunked()
        return rest

    def note_stamps(self, data: bytes) -> None:
        if b"~T" in data:
            now = time.monotonic_ns()
            self.run.findings.chunk_us += [(now - int(sent)) / 1000 for sent in _STAMP.findall(data)]

    def finish(self) -> None:
        findings, body = self.run.findings, b"".join(self.body)
        self.busy = False
        status = _STATUS.match(self.head)
        if status is None or status[1] != b"200":
            findings.fail(f"{self.head[:60]!r} {body[:300]!r}")
        elif self.chunked is not None and not any(mark in body[-LAST_BYTES:] for mark in ENDS):
            findings.fail(f"a stream without its end: {body[-200:]!r}")
        else:
            findings.latency_us.append((time.monotonic_ns() - self.due_ns) / 1000)
            findings.events += body.count(b"data: ") if self.chunked is not None else 0
        self.run.idle_again(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self.run.findings.fail(f"connection lost: {exc}")
            self.run.lost()


class Run:
    """One measured stretch of load."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        body = Path(arguments.body).read_bytes()
        headers = "".join(f"{header}\r\n" for header in arguments.header)
        self.request = (
            f"POST {arguments.path} HTTP/1.1\r\nhost: 127.0.0.1:{arguments.port}\r\ncontent-type: application/json\r\n"
            f"accept: application/json\r\nuser-agent: OpenAI/Python 3.54.0\r\n{headers}content-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.port, self.connections, self.rate = arguments.port, arguments.connections, arguments.rate
        self.seconds, self.requests = arguments.seconds, arguments.requests
        self.findings = Findings()
        self.idle: list[Connection] = []
        self.waiting = asyncio.Event()
        self.reconnecting: set[asyncio.Task[None]] = set()

    async def work(self) -> dict[str, object]:
        """Ask until the time or the number of requests is over; return the findings."""
        self.idle = [await self.connect() for _ in range(self.connections)]
        self.open = 0
        self.asked = 0
        self.began_ns = self.last_ns = time.monotonic_ns()
        self.end_ns = self.began_ns + int(self.seconds * 1e9)
        if self.rate:
            await self.ask_on_time()
        else:
            for connection in self.idle[:]:
                self.ask(connection, time.monotonic_ns())
        try:
            async with asyncio.timeout(self.seconds + LAST_WAIT_S):
                while self.open:
                    self.waiting.clear()
                    await self.waiting.wait()
        except TimeoutError:
            self.findings.fail(f"{self.open} requests were never answered")
        return self.report()

    def ask(self, connection: Connection, due_ns: int) -> None:
        self.open += 1
        self.asked += 1
        if connection.transport.is_closing():  # the server closed it after the last answer, as it may
            task = asyncio.get_running_loop().create_task(self.ask_anew(due_ns))
            self.reconnecting.add(task)
            task.add_done_callback(self.reconnecting.discard)
        else:
            connection.ask(due_ns)

    async def ask_anew(self, due_ns: int) -> None:
        (await self.connect()).ask(due_ns)

    async def connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self), "127.0.0.1", self.port
        )
        return connection

    async def ask_on_time(self) -> None:
        for number in range(int(self.rate * self.seconds)):
            due_ns = self.began_ns + int(number * 1e9 / self.rate)
            await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
            while not self.idle:
                self.waiting.clear()
                await self.waiting.wait()
            self.ask(self.idle.pop(), due_ns)

    def idle_again(self, connection: Connection) -> None:
        self.open -= 1
        now = self.last_ns = time.monotonic_ns()
        if self.rate:
            self.idle.append(connection)
        elif now < self.end_ns and (not self.requests or self.asked < self.requests):
            self.ask(connection, now)
            return
        self.waiting.set()

    def lost(self) -> None:
        self.open -= 1
        self.waiting.set()

    def report(self) -> dict[str, object]:
        findings = self.findings
        elapsed_s = (self.last_ns - self.began_ns) / 1e9
        answers = len(findings.latency_us)
        return {
            "answers": answers,
            "errors": findings.errors,
            "why": findings.why,
            "elapsed_s": round(elapsed_s, 4),
            "per_second": round(answers / elapsed_s, 1) if elapsed_s else 0,
            "events": findings.events,
            **percentiles("latency", findings.latency_us),
            **percentiles("first_byte", findings.first_byte_us),
            **percentiles("chunk", findings.chunk_us),
        }


def percentiles(name: str, values: list[float]) -> dict[str, float]:
    """The median and the 99th percentile, in microseconds; 0 where there is no value."""
    values.sort()
    at = {part: values[int(part / 100 * (len(values) - 1))] if values else 0.0 for part in (50, 99)}
    return {f"{name}_p{part}_us": round(value, 1) for part, value in at.items()}


def main() -> None:
    """Run the load that the arguments describe and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--requests", type=int, default=0, help="stop after so many, too (closed loop)")
    parser.add_argument("--rate", type=float, default=0, help="requests a second; 0: closed loop")
    parser.add_argument("--body", required=True, help="file with the request's body")
    parser.add_argument("--header", action="append", default=[])
    print(json.dumps(uvloop.run(Run(parser.parse_args()).work())))


if __name__ == "__main__":
    main()
