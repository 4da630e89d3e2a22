"""A whole gateway for tests: a real home, real sockets, its loop in a thread of its own, as ``serve`` runs it."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from tokenhub.catalog.models import Credential
from tokenhub.operations import accounts, credentials, grants, keys
from tokenhub.operations.hub import Hub
from tokenhub.operations.keys import KeyTerms
from tokenhub.paths import Home
from tokenhub.proxy import supervisor
from tokenhub.proxy.app import Gateway
from tokenhub.store.kept import Kept

T = TypeVar("T")

QUICK: Mapping[str, object] = {
    "local.enabled": False,
    "log.level": "error",
    "server.port": 0,
    "server.shutdown_s": 2.0,
    "server.keep_alive_s": 15.0,
    "upstream.first_byte_s": 20.0,
}


@dataclass
class Answer:
    """A reply as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class RunningGateway:
    """A gateway that serves until ``stop``. ``key`` belongs to the account ``acme``, which has credit."""

    hub: Hub
    own_credentials: tuple[Credential, ...] = ()
    key: str = ""
    account_id: int = 0
    address: str = ""
    port: int = 0
    gateway: Gateway | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _failure: BaseException | None = None

    @property
    def base_url(self) -> str:
        return self.address + "/v1"

    @property
    def api_key(self) -> str:
        return self.key

    def start(self) -> "RunningGateway":
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._thread.start()
        assert self._ready.wait(20), "the gateway did not start"
        if self._failure is not None:
            raise self._failure
        return self

    def _run(self) -> None:
        try:
            uvloop.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        listener = supervisor.listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.gateway = await Gateway.start(self.hub, [listener], self.own_credentials)
        self._ready.set()
        await self._stop.wait()
        await self.gateway.stop()

    def stop(self) -> None:
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)
            assert not self._thread.is_alive(), "the gateway did not stop"
        self.hub.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the gateway's own loop."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Make one request with the standard library, and return the reply whole."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = dict(headers) if headers is not None else {"Authorization": f"Bearer {self.key}"}
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            if data is not None:
                sent.setdefault("Content-Type", "application/json")
            connection.request(method, path, data, sent)
            reply = connection.getresponse()
            return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def chat(self, model: str, content: str = "Hello", **fields: Any) -> Answer:
        """Ask for a chat completion."""
        return self.call(
            "POST",
            "/v1/chat/completions",
            {"model": model, "messages": [{"role": "user", "content": content}], **fields},
        )

    def balance(self) -> int:
        """The account's available credit, in nano-USD."""
        return accounts.state(self.hub, self.account_id).available_nano

    def add_key(self, **terms: Any) -> str:
        return keys.create(self.hub, self.account_id, KeyTerms(**terms)).secret

    def add_credential(self, provider: str, base_url: str, **more: Any) -> int:
        """Point a provider at a fake upstream, and let the gateway see it."""
        number = 1 + sum(state.provider == provider for state in credentials.listing(self.hub))
        new = credentials.NewCredential(
            provider=provider, secret=f"sk-upstream-secret-{number:06}", base_url=base_url, **more
        )
        return credentials.add(self.hub, new).id

    def lose_patience(self, patience_s: float) -> None:
        """Shorten how long the writer waits for a database that is away or locked, before it answers that so it is."""
        assert self.gateway is not None
        writer = self.gateway.runtime.writer
        writer._kept = Kept(patience_s, patience_s)
        if self.hub.database.kind == "sqlite":
            busy = f"PRAGMA busy_timeout = {round(patience_s * 250)}"
            writer.run(lambda database: database.execute(busy)).result(10)

    def rest(self) -> None:
        """Do nothing more without being asked: afterwards only requests write to the store."""
        assert self.gateway is not None
        for crew in self.gateway._background._crews:
            crew.end()
            assert crew.join(10)

    def forget_faults(self) -> None:
        """Trust every upstream as at the start, for tests that break one after the other."""
        self.run(self._forget_faults())

    async def _forget_faults(self) -> None:
        assert self.gateway is not None
        runtime = self.gateway.runtime
        watch = runtime.watch
        while watch._unwritten:
            await asyncio.sleep(0.002)
        if watch.view.circuits or watch.view.cooldowns or watch.view.failed:
            await runtime.change(_mend_all)
            watch.view.circuits.clear()
            await self.reread()
        watch._windows.clear()

    async def reread(self) -> None:
        """Let the gateway know what the store says now; in its own loop."""
        assert self.gateway is not None
        await self.gateway.runtime.fresh()  # a reading that had begun before has ended then
        await self.gateway.runtime.reload()

    def settled(self, count: int = 1, seconds: float = 5.0) -> list[Any]:
        """Wait until so many requests have ended, and return their rows, oldest first."""
        done = threading.Event()
        for _ in range(int(seconds / 0.02)):
            held = self.rows("SELECT 1 FROM holds")  # first: who ends between the two reads is among the rows
            rows = self.rows("SELECT * FROM requests ORDER BY id")
            if len(rows) >= count and not held:
                return rows
            done.wait(0.02)
        raise AssertionError(
            f"{len(rows)} of {count} requests have ended; open holds: {self.rows('SELECT * FROM holds')}"
        )

    def row_of(self, answer: Any) -> dict[str, Any]:
        """Return the row of an answered request; a release is queued, so it may come a moment later."""
        id = answer.headers["x-request-id"]
        deadline = time.monotonic() + 5
        while not (rows := self.rows(f"SELECT * FROM requests WHERE id = '{id}'")):
            assert time.monotonic() < deadline, f"{id} has no end"
            time.sleep(0.002)
        assert self.rows(f"SELECT 1 FROM holds WHERE request_id = '{id}'") == []
        return rows[0]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Read rows as dictionaries."""
        cursor = self.hub.database.execute(sql)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _mend_all(hub: Hub) -> None:
    for state in credentials.listing(hub):
        if state.status != "disabled":
            credentials.set_status(hub, state.id, "active")


def start_gateway(
    home: Home, flags: Mapping[str, object] | None = None, *, credit_nano: int = 100 * 10**9, rpm: int = 100_000
) -> RunningGateway:
    """Set up a home with one account that has credit, and serve from it."""
    hub = Hub.init(home, {**QUICK, **(flags or {})})
    account = accounts.create(hub, "acme")
    accounts.change(hub, account.account.id, {"key_rpm": rpm, "account_rpm": rpm, "concurrency": 10_000})
    if credit_nano:
        grants.grant(hub, account.account.id, credit_nano, expires_at_ms=None)
    running = RunningGateway(hub, account_id=account.account.id)
    running.key = keys.create(hub, account.account.id).secret
    return running.start()


def temporary_home(folder: Path) -> Home:
    return Home(folder / "home", explicit=True)
