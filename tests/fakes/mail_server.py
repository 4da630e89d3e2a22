"""A mail server on a real socket (RFC 5321, STARTTLS, AUTH): keeps what it is given, refuses what it is told to.

with MailServer() as server: ...  server.mails, server.port
"""

import base64
import socket
import socketserver
import ssl
import threading
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail as it was taken."""

    sender: str
    receivers: tuple[str, ...]
    raw: bytes
    encrypted: bool
    session: int

    @property
    def message(self) -> EmailMessage:
        found = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found


class MailServer(socketserver.ThreadingTCPServer):
    """Listens while it is entered. ``tls`` offers STARTTLS, or with ``wrapped`` TLS from the first byte."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, wrapped: bool = False, user: tuple[str, str] | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.tls = tls
        self.wrapped = wrapped
        self.user = user
        self.mails: list[Mail] = []
        self.sessions = 0
        self.answers: dict[str, str] = {}
        """Verb, or verb and address, to what is said instead of taking it: ``{"RCPT no@example.com": "550 no"}``."""
        self.silent = False
        self.passwords: list[tuple[bytes, bool]] = []
        """What was offered as a password, and whether the line was encrypted."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        connection.settimeout(20)
        return connection, peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves, or a handshake that fails, is part of a test."""

    def __enter__(self) -> "MailServer":
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(10)


class _Session(socketserver.BaseRequestHandler):
    """One client."""

    server: MailServer

    def handle(self) -> None:
        server = self.server
        server.sessions += 1
        self.number = server.sessions
        self.line_is_tls = False
        if server.silent:
            self.request.recv(1)
            return
        if server.wrapped:
            self._secure()
        self._file = self.request.makefile("rb")
        self._say("220 mail.test ready")
        self._sender, self._receivers, self._known = "", [], server.user is None
        try:
            while line := self._file.readline(4096):
                text = line.decode("utf-8").rstrip("\r\n")
                verb, _, rest = text.partition(" ")
                if verb.upper() == "QUIT":
                    self._say("221 bye")
                    return
                self._do(verb.upper(), rest)
        finally:
            self._file.close()
            self.request.close()

    def _secure(self) -> None:
        assert self.server.tls is not None
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.line_is_tls = True

    def _say(self, *lines: str) -> None:
        for number, line in enumerate(lines, 1):
            text = line if number == len(lines) else f"{line[:3]}-{line[4:]}"
            self.request.sendall(text.encode() + b"\r\n")

    def _do(self, verb: str, rest: str) -> None:
        address = rest.partition("<")[2].partition(">")[0]
        told = self.server.answers.get(f"{verb} {address}") or self.server.answers.get(verb)
        if told is not None:
            self._say(told)
        elif verb == "EHLO":
            offered = ["250-STARTTLS"] if self.server.tls and not self.line_is_tls else []
            offered += ["250-AUTH PLAIN"] if self.server.user else []
            self._say("250-mail.test", *offered, "250 8BITMIME")
        elif verb == "STARTTLS" and self.server.tls:
            self._say("220 go")
            self._file.close()
            self._secure()
            self._file = self.request.makefile("rb")
        elif verb == "AUTH":
            self._sign_in(rest.partition(" ")[2])
        elif not self._known:
            self._say("530 sign in first")
        elif verb == "MAIL":
            self._sender, self._receivers = address, []
            self._say("250 ok")
        elif verb == "RCPT":
            self._receivers.append(address)
            self._say("250 ok")
        elif verb == "DATA":
            self._take()
        else:
            self._say("250 ok" if verb in ("RSET", "NOOP") else "502 unknown")

    def _sign_in(self, given: str) -> None:
        _, user, password = base64.b64decode(given).split(b"\0")
        self.server.passwords.append((password, self.line_is_tls))
        self._known = (user.decode(), password.decode()) == self.server.user
        self._say("235 welcome" if self._known else "535 not you")

    def _take(self) -> None:
        self._say("354 go on")
        lines = []
        while (line := self._file.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        mail = Mail(self._sender, tuple(self._receivers), b"".join(lines), self.line_is_tls, self.number)
        self.server.mails.append(mail)
        self._say("250 taken")
