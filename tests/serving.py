"""``tokenhub serve`` as a process of its own, for tests that kill it, stop it, or run several workers."""

import http.client
import json
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.forked import Piped, program
from tests.harness import Answer

MAIN = "from tokenhub.cli.app import main; main()"
DEADLINE_S = 30.0
QUICK = {"TOKENHUB_LOG_LEVEL": "info", "TOKENHUB_SERVER_SHUTDOWN_S": "2", "TOKENHUB_LOCAL_ENABLED": "false"}


class Serving:
    """A gateway that was started and takes requests at ``port``; its log is appended to ``log``."""

    def __init__(
        self, environment: Mapping[str, str], log: Path, *arguments: str, failpoint: str = "", key: str = ""
    ) -> None:
        self.log = log
        self.key = key
        begun_s = time.monotonic()
        with log.open("ab") as messages:
            self.process = Piped(
                program,
                *("--json", "serve", "--port", "0", "--no-local", *arguments),
                environment={**QUICK, **environment, "TOKENHUB_FAILPOINT": failpoint},
                stderr=messages.fileno(),
            )
        try:
            line = self.process.stdout.readline()
            assert line, f"the gateway did not start: {log.read_text()[-2000:]}"
        except BaseException:
            self.close()
            raise
        self.ready_s = time.monotonic() - begun_s
        """How long the start took."""
        self.welcome: dict[str, Any] = json.loads(line)
        """What it said of itself: ``address``, and on a first run ``key`` and ``model``."""
        self.port = int(self.welcome["address"].rpartition(":")[2])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_dead(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        """End the process as a power cut would."""
        self.process.send_signal(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if not self.is_dead:
            self.process.kill()
        self.process.wait(DEADLINE_S)
        self.process.close()

    def workers(self) -> list[int]:
        """The serving processes under this one; itself when it is the only one."""
        mine = [int(one.name) for one in Path("/proc").glob("[0-9]*") if _parent(one) == self.process.pid]
        return sorted(mine) or [self.process.pid]

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Make one request on a connection of its own, and return the reply whole."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            sent = dict(headers) if headers is not None else {"Authorization": f"Bearer {self.key}"}
            data = None if body is None else json.dumps(body).encode()
            if data is not None:
                sent.setdefault("Content-Type", "application/json")
            connection.request(method, path, data, sent)
            reply = connection.getresponse()
            return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def chat(self, model: str, content: str = "Hello", **fields: Any) -> Answer:
        messages = [{"role": "user", "content": content}]
        return self.call("POST", "/v1/chat/completions", {"model": model, "messages": messages, **fields})


def _parent(process: Path) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return 0
