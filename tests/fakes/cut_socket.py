"""A socket in front of PostgreSQL that a test can cut: at a word that passes, or at once."""

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

PORT = 5432


class CutSocket:
    """Relays between clients and the server; ``url`` is the server's address through it."""

    def __init__(self, url: str, folder: Path) -> None:
        parts = urlsplit(url)
        self._server = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.{PORT}"
        self._folder = folder / "cut"
        self._folder.mkdir()
        self.url = parts._replace(query=f"host={self._folder}").geturl()
        self.refuse = False
        self._words: list[tuple[bytes, bool, bool]] = []
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.socket(socket.AF_UNIX)

    def cut_at(self, word: bytes, *, pass_it_on: bool, refuse: bool = False) -> None:
        """Cut the connection whose client sends this word next, before or after the server has got it.

        Asked for again before that, it is for the word that comes after. ``refuse``: from then on.
        """
        self._words.append((word, pass_it_on, refuse))

    def cut_now(self) -> None:
        """Cut every open connection."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _close(*pair)

    def __enter__(self) -> Self:
        self._listener.bind(str(self._folder / f".s.PGSQL.{PORT}"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _close(self._listener)
        self.cut_now()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refuse:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._pairs.append((client, server))
                threading.Thread(target=self._relay, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._relay, args=(server, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if from_client and self._words and self._words[0][0] in data:
                    _, pass_it_on, refuse = self._words.pop(0)
                    self.refuse = self.refuse or refuse
                    _close(source)  # the client first, so that no answer reaches it
                    if pass_it_on:
                        target.sendall(data)
                        target.recv(65536)  # the server has answered
                    break
                target.sendall(data)
        _close(source, target)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
