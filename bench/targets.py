"""What is measured, as processes: the fake upstream, the baseline, and TokenHub as an operator sets it up."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

READY_WAIT_S = 60.0
STOP_WAIT_S = 10.0
NO_LIMIT = "1000000000"

PROVIDERS = """\
[[providers]]
id = "bench"
name = "The fake upstream, in OpenAI's dialect"
adapter = "openai_compatible"
auth = "none"
quirks = {{ stream = "relay" }}
regions = [{{ id = "default", base_url = "{upstream}/v1", data_region = "self-hosted" }}]

[[providers]]
id = "bench-messages"
name = "The fake upstream, in Anthropic's dialect"
adapter = "anthropic"
auth = "none"
regions = [{{ id = "default", base_url = "{upstream}/v1", data_region = "self-hosted" }}]
"""
MODEL = """
[[models]]
id = "{name}"
capability = "chat"
context = 128000
max_output = 4096
offerings = [
    {{ provider = "{provider}", regions = ["default"], upstream_id = "{name}", price = {{ input = "0.15", output = "0.6" }} }},
]
"""
MODELS = {"plain": "bench", "paced": "bench", "translated": "bench-messages"}
"""Model to provider; the upstream reads from the model's name how it is to answer."""


class BenchError(Exception):
    """A process did not do what it should; the message holds its last words."""


@dataclass(slots=True)
class Target:
    """A running server that takes chat completions."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    headers: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Workshop:
    """Starts processes on chosen cores, keeps their output in a folder, and ends them all."""

    folder: Path
    gateway_core: int | None
    load_core: int | None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            end(process)

    def spawn(
        self, name: str, argv: list[str], *, core: int | None, environment: dict[str, str] | None = None
    ) -> "Spawned":
        """Start a program on one core, in a session of its own; its output goes to a file."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        if core is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended already; its output will be shown
                os.sched_setaffinity(process.pid, {core})
        self.processes.append(process)
        return Spawned(process, log)

    def module(self, name: str, *arguments: str, core: int | None) -> Target:
        """Start a server of this package and wait for its READY line."""
        spawned = self.spawn(name, [sys.executable, "-m", f"bench.{name}", *arguments], core=core)
        return Target(name, spawned.process, int(spawned.ready_line().rsplit(":", 1)[1]))


@dataclass(frozen=True, slots=True)
class Spawned:
    process: subprocess.Popen[bytes]
    log: Path

    def last_words(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def alive_until(self, deadline_s: float) -> bool:
        """Wait a moment; raises BenchError when the process has ended or the time is up."""
        if self.process.poll() is not None or time.monotonic() > deadline_s:
            raise BenchError(f"{self.process.args!r} is not ready:\n{self.last_words()}")
        time.sleep(0.05)
        return True

    def ready_line(self) -> str:
        """Wait for the line that says READY and return the address in it."""
        deadline_s = time.monotonic() + READY_WAIT_S
        while self.alive_until(deadline_s):
            for line in self.log.read_text(encoding="utf-8").splitlines():
                if line.startswith("READY "):
                    return line.split()[1]
        raise AssertionError

    def answers(self, url: str) -> None:
        """Wait until a GET of this address succeeds."""
        deadline_s = time.monotonic() + READY_WAIT_S
        while self.alive_until(deadline_s):
            with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2) as reply:
                if reply.status == 200:
                    return


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, then make it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_WAIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class TokenHub:
    """An installation of its own, set up by the commands an operator would use."""

    def __init__(self, workshop: Workshop, upstream: str, settings: dict[str, str]) -> None:
        self.workshop = workshop
        self.program = str(Path(sys.executable).with_name("tokenhub"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TOKENHUB_")}
        self.environment = kept | settings | {"TOKENHUB_HOME": str(workshop.folder / "home")}
        self.key = self._set_up(upstream)

    def run(self, *arguments: str) -> str:
        """Run one command to its end and return what it prints on stdout."""
        done = subprocess.run(
            [self.program, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"tokenhub {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _set_up(self, upstream: str) -> str:
        self.run("init")
        catalog = self.workshop.folder / "bench.toml"
        models = "".join(MODEL.format(name=name, provider=provider) for name, provider in MODELS.items())
        catalog.write_text(PROVIDERS.format(upstream=upstream) + models, encoding="utf-8")
        self.run("providers", "add", "--file", str(catalog))
        self.run("plans", "set", "starter", "--rpm", NO_LIMIT, "--account-rpm", NO_LIMIT, "--concurrency", "100000")
        self.run("accounts", "create", "bench")
        self.run("grant", "1000000", "--account", "bench")
        return str(json.loads(self.run("keys", "create", "--account", "bench", "--json"))["key"])

    def serve(self, *, profile: Path | None = None) -> Target:
        """Start the gateway and wait until it is ready; under the sampler when a profile is wanted."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = ["serve", "--no-local", "--host", "127.0.0.1", "--port", str(port)]
        sampler = [sys.executable, "-m", "bench.sampler", str(profile), "--"] if profile else [self.program]
        spawned = self.workshop.spawn(
            "tokenhub", [*sampler, *command], core=self.workshop.gateway_core, environment=self.environment
        )
        spawned.answers(f"http://127.0.0.1:{port}/readyz")
        return Target("tokenhub", spawned.process, port, [f"authorization: Bearer {self.key}"])
