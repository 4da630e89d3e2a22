"""A fake provider that answers at once from memory: OpenAI's chat completions and Anthropic's messages.

    python -m bench.upstream [--port 0]            prints READY and its address

A body that asks for a stream is answered with CHUNKS content chunks, each an HTTP chunk of
its own: all in one write, or, when its ``model`` contains ``paced``, one every PACE_S
seconds, stamped with the moment it was sent. One asyncio.Protocol per connection, nothing
else: it has to cost much less than what is measured against it.
"""

import argparse
import asyncio
import re
import sys
import time
from typing import cast

import uvloop

CHUNKS = 200
PACE_S = 0.01

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_STREAMED = re.compile(rb'"stream"\s*:\s*true')
_PACED = re.compile(rb'"model"\s*:\s*"[^"]*paced')

_ID = b"chatcmpl-Cg1rT5mPq0XbYw7uKzN3eLaVdHs8J"
_MODEL = b"fake-model-2026-01-01"
_WORDS = b"The parcel left our warehouse on Monday and should be with you before the end of the week."

_HEADERS = (
    b"date: Mon, 05 Jan 2026 09:00:00 GMT\r\nconnection: keep-alive\r\nserver: fake\r\n"
    b"x-request-id: req_0f4c1be85a7d4a0f9c62de7735a8b1d4\r\nprocessing-ms: 318\r\n"
    b"x-ratelimit-limit-requests: 30000\r\nx-ratelimit-remaining-requests: 29999\r\n"
    b"x-ratelimit-limit-tokens: 150000000\r\nx-ratelimit-remaining-tokens: 149999583\r\n"
)


def _whole(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + _HEADERS
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    + _HEADERS
    + b"transfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"0\r\n\r\n"


class Chat:
    """OpenAI's dialect."""

    WHOLE = _whole(
        b'{"id":"%b","object":"chat.completion","created":1767603600,"model":"%b","choices":[{"index":0,"message":'
        b'{"role":"assistant","content":"%b","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":417,"completion_tokens":21,"total_tokens":438,"prompt_tokens_details":'
        b'{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
        b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default",'
        b'"system_fingerprint":"fp_5e2b8d90c1"}' % (_ID, _MODEL, _WORDS)
    )

    @staticmethod
    def event(choices: bytes, usage: bytes = b"null") -> bytes:
        return _http_chunk(
            b'data: {"id":"%b","object":"chat.completion.chunk","created":1767603600,"model":"%b",'
            b'"system_fingerprint":"fp_5e2b8d90c1","choices":%b,"usage":%b}\n\n' % (_ID, _MODEL, choices, usage)
        )

    @classmethod
    def first(cls) -> bytes:
        return cls.event(b'[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]')

    @classmethod
    def content(cls, text: bytes) -> bytes:
        return cls.event(b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]' % text)

    @classmethod
    def last(cls) -> bytes:
        usage = (
            b'{"prompt_tokens":417,"completion_tokens":200,"total_tokens":617,"prompt_tokens_details":'
            b'{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}'
        )
        ending = cls.event(b'[{"index":0,"delta":{},"finish_reason":"stop"}]') + cls.event(b"[]", usage)
        return ending + _http_chunk(b"data: [DONE]\n\n")


class Messages:
    """Anthropic's dialect."""

    WHOLE = _whole(
        b'{"id":"msg_01Fq7JtY2mXw4RbK9cVnZ3Lp","type":"message","role":"assistant","model":"%b","content":'
        b'[{"type":"text","text":"%b"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":417,'
        b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":21,"service_tier":"standard"}}'
        % (_MODEL, _WORDS)
    )

    @staticmethod
    def event(kind: bytes, rest: bytes) -> bytes:
        return _http_chunk(b'event: %b\ndata: {"type":"%b"%b}\n\n' % (kind, kind, rest))

    @classmethod
    def first(cls) -> bytes:
        message = (
            b',"message":{"id":"msg_01Fq7JtY2mXw4RbK9cVnZ3Lp","type":"message","role":"assistant","model":"%b",'
            b'"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":417,'
            b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}' % _MODEL
        )
        block = b',"index":0,"content_block":{"type":"text","text":""}'
        return cls.event(b"message_start", message) + cls.event(b"content_block_start", block) + cls.event(b"ping", b"")

    @classmethod
    def content(cls, text: bytes) -> bytes:
        return cls.event(b"content_block_delta", b',"index":0,"delta":{"type":"text_delta","text":"%b"}' % text)

    @classmethod
    def last(cls) -> bytes:
        ending = cls.event(b"content_block_stop", b',"index":0')
        stop = b',"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":200}'
        return ending + cls.event(b"message_delta", stop) + cls.event(b"message_stop", b"")


Dialect = type[Chat] | type[Messages]


def stamp() -> bytes:
    """The moment, as text that the load client finds in a chunk however it was relayed."""
    return b"~T%019d" % time.monotonic_ns()


def whole_stream(dialect: Dialect) -> bytes:
    """Return a stream with all its chunks, as one piece of bytes."""
    content = b"".join(dialect.content(b" word%04d and more text" % number) for number in range(CHUNKS))
    return STREAM_HEAD + dialect.first() + content + dialect.last() + STREAM_END


STREAMS: dict[Dialect, bytes] = {dialect: whole_stream(dialect) for dialect in (Chat, Messages)}


class Connection(asyncio.Protocol):
    """One connection; requests on it come one after another."""

    def __init__(self) -> None:
        self.received = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        received = self.received = self.received + data if self.received else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = received[:end]
        length = _LENGTH.search(head)
        body_end = end + 4 + (int(length[1]) if length else 0)
        if len(received) < body_end:
            return
        self.received = received[body_end:]
        self.answer(head, received[end + 4 : body_end])

    def answer(self, head: bytes, body: bytes) -> None:
        dialect: Dialect = Messages if b"/messages " in head[:200] else Chat
        if not _STREAMED.search(body):
            self.transport.write(dialect.WHOLE)
        elif _PACED.search(body):
            self.transport.write(STREAM_HEAD + dialect.first())
            self.pace(dialect, CHUNKS, asyncio.get_running_loop().time() + PACE_S)
        else:
            self.transport.write(STREAMS[dialect])

    def pace(self, dialect: Dialect, left: int, due: float) -> None:
        if self.transport.is_closing():
            return
        if not left:
            self.transport.write(dialect.last() + STREAM_END)
            return
        self.transport.write(dialect.content(stamp()))
        asyncio.get_running_loop().call_at(due, self.pace, dialect, left - 1, due + PACE_S)


async def serve(port: int) -> None:
    """Serve on loopback until killed."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    print(f"READY http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--port", type=int, default=0)
    sys.exit(uvloop.run(serve(arguments.parse_args().port)))
