"""An HTTP client that says any bytes, on a plain socket, and reads replies strictly."""

import contextlib
import json
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


class Closed(Exception):
    """The server closed the connection, or tore it down, before a whole reply had come."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One reply: its status line and headers as they came, its body without framing."""

    version: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["error"]["code"])


def head(method: str, path: str, *lines: str, version: str = "HTTP/1.1", host: str | None = "gateway.test") -> bytes:
    """Return a request head; header lines as they are to be sent."""
    hosts = [] if host is None else [f"Host: {host}"]
    return "\r\n".join([f"{method} {path} {version}", *hosts, *lines, "", ""]).encode("latin-1", "surrogateescape")


def post(key: str, body: Any, *lines: str, path: str = "/v1/chat/completions", version: str = "HTTP/1.1") -> bytes:
    """Return a whole request with a JSON body (or these bytes)."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    own = (f"Authorization: Bearer {key}", "Content-Type: application/json", f"Content-Length: {len(data)}")
    return head("POST", path, *own, *lines, version=version) + data


class RawClient:
    """One connection; ``receive_bytes`` makes the kernel's receive buffer small."""

    def __init__(self, port: int, *, timeout_s: float = 10.0, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(("127.0.0.1", port))
        except BaseException:
            self.socket.close()
            raise
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def more(self) -> bool:
        """Read once; return whether anything came before the end."""
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        self.buffer += data
        return bool(data)

    def until(self, word: bytes) -> bytes:
        """Read until this word has come; return everything up to and with it."""
        while word not in self.buffer:
            if not self.more():
                raise Closed(self.buffer)
        end = self.buffer.index(word) + len(word)
        taken, self.buffer = self.buffer[:end], self.buffer[end:]
        return taken

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            if not self.more():
                raise Closed(self.buffer)
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def rest(self) -> bytes:
        """Read to the end of the connection; TimeoutError if there is none."""
        while self.more():
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def is_closed(self, within_s: float = 3.0) -> bool:
        """Whether the server closes within this time, saying nothing more."""
        self.socket.settimeout(within_s)
        try:
            return self.rest() == b""
        except TimeoutError:
            return False

    def reply(self, *, head_only: bool = False) -> Seen:
        """Read one reply, as its own headers frame it."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, _ = lines[0].split(" ", 2)
        pairs = [line.partition(": ")[::2] for line in lines[1:-2]]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), f"a header came twice: {pairs}"
        return Seen(version, int(status), headers, b"" if head_only or status == "100" else self._body(headers))

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if "content-length" in headers:
            assert "transfer-encoding" not in headers
            return self.exactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            return self.rest()
        parts = []
        while size := int(self.until(b"\r\n"), 16):
            parts.append(self.exactly(size))
            assert self.exactly(2) == b"\r\n"
        assert self.exactly(2) == b"\r\n"
        return b"".join(parts)

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Tear the connection down."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def eventually(condition: Any, seconds: float = 5.0) -> bool:
    """Whether a condition comes true within this time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
