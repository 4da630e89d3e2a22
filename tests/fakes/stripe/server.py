"""The fake Stripe's socket."""

import socket
import struct
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.fakes.stripe.desk import Desk
from tests.fakes.stripe.webhooks import Webhooks


class FakeStripe(Desk):
    """The server. ``url`` is for ``stripe.api_base``, ``secret_key`` for ``stripe.secret_key``."""

    def __init__(self, *, livemode: bool = False, secret_key: str | None = None) -> None:
        super().__init__(livemode=livemode, secret_key=secret_key)
        self._endpoints: list[Webhooks] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stripe = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @classmethod
    def start(cls, *, livemode: bool = False, secret_key: str | None = None) -> Self:
        """Make one that listens on a free port of 127.0.0.1. ``stop`` it, or use it in a ``with``."""
        made = cls(livemode=livemode, secret_key=secret_key)
        made._thread.start()
        return made

    def stop(self) -> None:
        for endpoint in self._endpoints:
            endpoint.stop()
        self._server.shutdown()
        self._server.server_close()
        self._server.close_peers()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def webhooks(self, url: str, secret: str, **options: Any) -> Webhooks:
        """Deliver every event from now on to a URL, signed; ``options`` as ``Webhooks`` has them."""
        endpoint = Webhooks(url, secret, **options)
        with self.lock:
            self._endpoints.append(endpoint)
            self.listeners.append(endpoint.note)
        return endpoint


class _Server(ThreadingHTTPServer):
    """Closes every connection when it ends: clients keep theirs open."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    stripe: FakeStripe

    def __init__(self, *arguments: Any) -> None:
        self._peers: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._peers.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._peers.discard(request)
        super().shutdown_request(request)

    def close_peers(self) -> None:
        for peer in list(self._peers):
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no news; anything else is the fake's own mistake."""
        import sys
        import traceback

        if not isinstance(sys.exception(), OSError):
            self.stripe.broken.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        if len(body) < size:  # its client was killed while it asked
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.stripe.answer(self.command, self.path, headers, body)
        if reply.cut == "reset":
            self._tear()
            return
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", "Request-Id": "req_fake", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if reply.cut == "half":
            self.wfile.write(reply.body[: len(reply.body) // 2])
            self.close_connection = True
            return
        self.wfile.write(reply.body)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def _tear(self) -> None:
        """End the connection without a word (RST)."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: tests read ``asked``."""
