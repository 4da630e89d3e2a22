"""Access across processes: revocation and limits bind all of them at once, and no secret or prompt is written anywhere."""

import asyncio
import http.client
import json
import os
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.cli.program import run
from tests.conftest import process_environment
from tests.fakes.upstream import (
    Cut,
    FakeUpstream,
    Pause,
    Received,
    Reply,
    json_reply,
    openai_chat,
    openai_error,
    openai_stream,
    sse_reply,
)
from tests.serving import Serving
from tokenhub.operations import accounts, credentials, grants, keys
from tokenhub.operations.hub import Hub
from tokenhub.operations.keys import NewKey
from tokenhub.store import circuits
from tokenhub.store.database import Database

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
MODEL = "gpt-4o-mini"
SECRET = "sk-upstream-Qz7vXw2kPm4tRb9c"
PROCESSES = 4 if SOAK else 2


def script(request: Received) -> Reply:
    """Answer with words of its own, and fail in every way a prompt names, quoting the prompt and secrets."""
    body = request.json()
    said = body["messages"][-1]["content"]
    kind, _, canary = said.partition(" ")
    told = f"reply to {canary}"
    quoted = f"{said} with key {SECRET} of org-Canary77 at https://internal.canary.example/v1?key={SECRET}"
    match kind:
        case "refuse":
            return json_reply(openai_error(quoted, code="server_error"), status=500)
        case "reject":
            return json_reply(
                openai_error(f"Incorrect API key provided: {SECRET}; {quoted}", code="invalid_api_key"), status=401
            )
        case "throttle":
            return json_reply(openai_error(quoted, type="tokens", code="rate_limit_exceeded"), status=429)
        case "html":
            return json_reply(f"<html>{quoted}</html>".encode(), status=502)
        case "garbage":
            return json_reply(f"not json: {told} {quoted}".encode())
        case "cut":
            return sse_reply([*openai_stream([told, told])[:3], Pause(0.02), Cut()])
        case "event":
            return sse_reply(
                [*openai_stream([told])[:2], b"data: " + json.dumps(openai_error(quoted)).encode() + b"\n\n"]
            )
        case "slow":
            return sse_reply([step for frame in openai_stream([told] * 4) for step in (frame, Pause(0.03))])
    return sse_reply(openai_stream([told])) if body.get("stream") else json_reply(openai_chat(told))


class Installation:
    """A hub with an account, one upstream, and the processes that serve from it."""

    def __init__(self, hub: Hub, upstream: FakeUpstream, folder: Path) -> None:
        self.hub = hub
        self.upstream = upstream
        self.log = folder / "gateway.log"
        self.environment = process_environment(hub.settings, hub.home) | {"TOKENHUB_LOG_LEVEL": "debug"}
        self.account_id = self.add_account("acme")
        new = credentials.NewCredential(provider="openai", secret=SECRET, base_url=upstream.url)
        self.credential_id = credentials.add(hub, new).id

    def add_account(self, name: str, **terms: int) -> int:
        account_id = accounts.create(self.hub, name).account.id
        terms = {"key_rpm": 100_000, "account_rpm": 100_000, "concurrency": 10_000} | terms
        accounts.change(self.hub, account_id, terms)
        grants.grant(self.hub, account_id, 10**12, expires_at_ms=None)
        return account_id

    def key(self, account_id: int | None = None) -> NewKey:
        return keys.create(self.hub, account_id or self.account_id)

    def serve(self, number: int, stack: ExitStack) -> list[Serving]:
        """Start so many processes at once."""
        with ThreadPoolExecutor(number) as pool:
            started = list(pool.map(lambda _: Serving(self.environment, self.log), range(number)))
        return [stack.enter_context(one) for one in started]


@pytest.fixture
def installation(hub: Hub, tmp_path: Path) -> Iterator[Installation]:
    with FakeUpstream(script, keep=1000) as upstream:
        yield Installation(hub, upstream, tmp_path)


async def ask(port: int, key: str) -> tuple[int, dict[str, str]]:
    """Make one request; return its status and headers."""
    body = json.dumps({"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        await reader.read(-1)
        return int(status.split()[1]), {
            name.lower(): text for name, _, text in (line.partition(": ") for line in lines)
        }
    finally:
        writer.close()


# ---- limits and revocation --------------------------------------------------------------------


async def burst(servings: Sequence[Serving], secrets: Sequence[str], each: int) -> list[tuple[int, dict[str, str]]]:
    """Make ``each`` requests with every key, all at once, spread over the processes."""
    calls = [ask(servings[number % len(servings)].port, secret) for number in range(each) for secret in secrets]
    return await asyncio.gather(*calls)


@pytest.mark.soak
def test_t37_limits_are_exact_across_processes(installation: Installation) -> None:
    key_rpm, account_rpm, each = (60, 600, 60) if SOAK else (12, 120, 12)
    one_key = installation.key(installation.add_account("one-key", key_rpm=60, account_rpm=600)).secret
    many = installation.add_account("many-keys", key_rpm=key_rpm, account_rpm=account_rpm)
    secrets = [installation.key(many).secret for _ in range(11)]
    with ExitStack() as stack:
        servings = installation.serve(2, stack)
        answers = asyncio.run(burst(servings, [one_key], 100))
        assert Counter(status for status, _ in answers) == {200: 60, 429: 40}
        waits = {int(headers["retry-after"]) for status, headers in answers if status == 429}
        assert min(waits) >= 1
        assert max(waits) <= 61
        answers = asyncio.run(burst(servings, secrets, each))
        assert Counter(status for status, _ in answers) == {200: account_rpm, 429: 11 * each - account_rpm}
        assert installation.hub.database.rows("SELECT COUNT(*) FROM holds") == [(0,)]
        assert installation.hub.database.rows("SELECT COUNT(*) FROM requests") == [(60 + account_rpm,)]
        if SOAK:
            time.sleep(max(waits))
            assert asyncio.run(ask(servings[0].port, one_key))[0] == 200


@pytest.mark.soak
def test_t35_a_revoked_key_is_admitted_by_no_process(installation: Installation) -> None:
    """Processes under load; requests begun after the command has returned: none is answered 200."""
    with ExitStack() as stack:
        servings = installation.serve(PROCESSES, stack)
        for number in range(100 if SOAK else 5):
            made = installation.key()
            begun = asyncio.run(_revoke_under_load(installation, servings, made, by_command=number == 0))
            assert Counter(status for late, status in begun if late)[200] == 0
            assert {status for late, status in begun if late} == {401}
            assert {status for late, status in begun if not late} >= {200}


async def _revoke_under_load(
    installation: Installation, servings: Sequence[Serving], made: NewKey, *, by_command: bool
) -> list[tuple[bool, int]]:
    """Return of each request whether it was begun after the revocation had returned, and its status."""
    begun: list[tuple[bool, int]] = []
    revoked, over = threading.Event(), asyncio.Event()

    async def client(number: int) -> None:
        while not over.is_set():
            late = revoked.is_set()
            status, _ = await ask(servings[number % len(servings)].port, made.secret)
            begun.append((late, status))

    def revoke() -> None:
        if by_command:
            ended = run(
                installation.hub.home.path, "keys", "revoke", made.state.key.id, "--yes", more=installation.environment
            )
            assert ended.code == 0, ended.err
        else:
            keys.revoke(installation.hub, made.state.key.id)
        revoked.set()

    async with asyncio.TaskGroup() as group:
        for number in range(2 * len(servings)):
            group.create_task(client(number))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(revoke)
        while sum(late for late, _ in begun) < 3 * len(servings):
            await asyncio.sleep(0.01)
        over.set()
    return begun


# ---- what is at rest --------------------------------------------------------------------------

KINDS = ["plain", "refuse", "reject", "throttle", "html", "garbage", "cut", "event", "slow"]


def told(serving: Serving, key: str, body: object, path: str = "/v1/chat/completions") -> bytes:
    """Make one request; return everything that came back, headers included."""
    with suppress(http.client.HTTPException):
        answer = serving.call("POST", path, body, {"Authorization": f"Bearer {key}", "X-Canary": "canaryHeader9"})
        return repr(sorted(answer.headers.items())).encode() + answer.body
    return b""


def leave(serving: Serving, key: str, body: object) -> None:
    """Make a streamed request and reset the connection after the first content."""
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", serving.port), timeout=10) as client:
        client.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        seen = b""
        while b"reply to" not in seen:
            seen += client.recv(65536)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def mend(installation: Installation, kind: str, serving: Serving, key: str) -> None:
    """Bring the credential back that a refusal or a throttle has taken out; ends when requests get through again.

    A process that has not heard yet that its own word is written keeps to it until its next look, a second later.
    """
    hub, number = installation.hub, installation.credential_id
    out = {
        "reject": lambda: credentials.find(hub, number).status == "failed",
        "throttle": lambda: number in circuits.read(hub.database).cooldowns,
    }.get(kind)
    if out is None:
        return
    deadline = time.monotonic() + 10
    while not out():
        assert time.monotonic() < deadline, f"after {kind} the credential is still in use"
        time.sleep(0.01)
    credentials.set_status(hub, number, "active")
    while b"reply to" not in told(serving, key, chat("plain canaryMended")):
        assert time.monotonic() < deadline, f"after {kind} the credential is not in use again"
        time.sleep(0.01)


def chat(content: str, **fields: object) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


def test_t31_t40_t112_t113_t118_no_secret_prompt_or_completion_is_at_rest_or_told_to_another(
    installation: Installation, tmp_path: Path
) -> None:
    """Canaries in prompts, completions, headers and keys; every fault; then every byte that was written is searched."""
    mine = installation.key().secret
    theirs = installation.key(installation.add_account("other")).secret
    revoked = installation.key()
    keys.revoke(installation.hub, revoked.state.key.id)
    replies: list[bytes] = []
    with ExitStack() as stack:
        (serving,) = installation.serve(1, stack)
        for number, kind in enumerate(KINDS):
            for streamed in (False, True):
                for key, canary in ((mine, "canaryMine"), (theirs, "canaryTheirs")):
                    reply = told(serving, key, chat(f"{kind} {canary}{number}x", stream=streamed))
                    replies.append(reply)
                    mend(installation, kind, serving, key)
                    assert (b"canaryTheirs" if key == mine else b"canaryMine") not in reply
                    if kind not in ("plain", "cut", "event", "slow"):
                        assert b"canary" not in reply, (kind, reply)
            leave(serving, mine, chat(f"slow canaryLeft{number}", stream=True))
        told(serving, mine, {**chat("plain canaryShape"), "max_tokens": "canaryType"})
        told(serving, mine, chat("plain canaryShape") | {"model": "canaryModel"})
        told(serving, mine, {"canaryField": 1, **chat("plain canaryShape")})
        told(serving, revoked.secret, chat("plain canaryRevoked"))
        told(serving, "", chat("plain canaryNoKey"), f"/v1/chat/completions?key={mine}&x=canaryQuery")
        told(serving, mine, chat("plain canaryPath"), "/v1/canaryPath")
        serving.call("GET", f"/v1/generation?id=canaryId&key={mine}", None, {"Authorization": f"Bearer {theirs}"})
        _send_broken(serving, mine)
        assert serving.stop() == 0
        found = b"".join(replies)
        assert b"canaryMine" in found, "the completions were told to who asked"
        for secret in (SECRET.encode(), b"org-Canary77", b"internal.canary.example"):
            assert secret not in found
    wanted = [b"canary", b"reply to ", b"org-Canary77", SECRET.encode(), SECRET[-12:].encode()]
    wanted += [part for key in (mine, theirs, revoked.secret) for part in (key.encode(), key[9:].encode())]
    for path, data in _written(installation, tmp_path):
        for one in wanted:
            assert one not in data, f"{one!r} in {path}"
    assert any(key.encode()[:9] in data for _, data in _written(installation, tmp_path)), (
        "the search finds what is there"
    )
    assert b"attempt_failed" in installation.log.read_bytes()


def _send_broken(serving: Serving, key: str) -> None:
    """Requests that fail below and in the parser, with a canary in each part."""
    bodies = [
        b'{"model": "canaryJson"',
        b'{"a": "canaryTwice", "a": 1}',
        b"\xff\xfecanaryBytes",
        b"[" * 5000 + b"canaryDeep",
    ]
    for body in bodies:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        _send_raw(serving, head.encode() + body)
    _send_raw(serving, b"POST /v1/canaryTarget HTTP/9.9\r\ncanaryLine\r\n\r\n")
    _send_raw(serving, b"GET / HTTP/1.1\r\nHost: canary\x01Host\r\nAuthorization: Bearer " + key.encode() + b"\r\n\r\n")


def _send_raw(serving: Serving, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", serving.port), timeout=10) as client, suppress(OSError):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass


def _written(installation: Installation, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that was written: every file of the home with database and WAL, the log, every row of PostgreSQL."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()
    if installation.hub.database.kind == "postgres":
        yield from _rows(installation.hub.database)


def _rows(database: Database) -> Iterator[tuple[str, bytes]]:
    tables = database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        for (row,) in database.rows(f'SELECT CAST("{table}" AS text) FROM "{table}"'):
            yield table, row.encode()


# ---- credentials of providers -----------------------------------------------------------------


def start(installation: Installation) -> tuple[int, str]:
    """Try to serve; return the exit code and all that was said. A gateway that starts is stopped."""
    ended = run(None, "serve", "--port", "0", "--no-local", more=installation.environment)
    return ended.code, ended.out + ended.err


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_t43_a_credential_that_was_touched_or_a_wrong_master_key_stops_the_start(
    installation: Installation, tmp_path: Path
) -> None:
    database, home = installation.hub.database, installation.hub.home
    second = credentials.add(
        installation.hub, credentials.NewCredential(provider="openai", secret="sk-second-Zz5xYw8v", label="second")
    ).id
    sealed = dict(database.rows("SELECT id, sealed FROM credentials"))
    first = installation.credential_id

    def put(values: dict[int, bytes]) -> None:
        with database.write():
            for number, value in values.items():
                database.execute("UPDATE credentials SET sealed = ? WHERE id = ?", (value, number))

    def flipped(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1])

    said = []
    for broken in ({first: flipped(bytes(sealed[first]))}, {first: sealed[second], second: sealed[first]}):
        put(broken)
        code, out = start(installation)
        assert code == 1, out
        assert "credential" in out
        said.append(out)
        put(sealed)
    kept = tmp_path / "kept.key"
    shutil.copy2(home.master_key, kept)
    other = Hub.init(type(home)(tmp_path / "other", explicit=True), {"local.enabled": False})
    other.close()
    shutil.copy2(other.home.master_key, home.master_key)
    code, out = start(installation)
    assert (code, "master key" in out) == (1, True)
    home.master_key.unlink()
    missing, out_missing = start(installation)
    assert (missing, "master key" in out_missing) == (1, True)
    shutil.copy2(kept, home.master_key)
    said += [out, out_missing]
    assert not [text for text in said if SECRET in text or "sk-second" in text or "Traceback" in text]
