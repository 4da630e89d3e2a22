"""Names, certificates and addresses: what is refused before a byte of the request is sent."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.fakes.authority import Authority
from tests.fakes.upstream import FakeUpstream, json_reply
from tokenhub.providers.adapter import UpstreamRequest
from tokenhub.providers.client import Timeouts, UpstreamClient, call_once
from tokenhub.wire.faults import FaultKind, UpstreamFault


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def client(authority: Authority) -> AsyncIterator[UpstreamClient]:
    made = UpstreamClient(
        "here", Timeouts(connect_s=1, first_byte_s=2), tls=ssl.create_default_context(cafile=str(authority.file))
    )
    yield made
    await made.close()
    await asyncio.sleep(0.02)


def post(url: str) -> UpstreamRequest:
    return UpstreamRequest(f"{url}/chat/completions", {"authorization": "Bearer canary"}, b"{}")


async def refusal(client: UpstreamClient, url: str) -> str:
    """Return the code of the CONNECT fault that calling this address must raise within two seconds."""
    started = time.monotonic()
    with pytest.raises(UpstreamFault) as caught:
        await client.send(post(url), stream=False)
    assert time.monotonic() - started < 2
    assert caught.value.failure.kind is FaultKind.CONNECT
    return caught.value.failure.code


async def test_t82_a_trusted_certificate_is_served_and_its_connection_kept(
    client: UpstreamClient, authority: Authority
) -> None:
    async with FakeUpstream(lambda _: json_reply({"a": 1}), tls=authority.server("127.0.0.1", "localhost")) as fake:
        for reused in (False, True):
            response = await client.send(post(fake.url), stream=False)
            assert response.reused is reused
            assert await response.read() == b'{"a": 1}'
        by_name = await client.send(post(fake.url.replace("127.0.0.1", "localhost")), stream=False)
        assert await by_name.read() == b'{"a": 1}'


@pytest.mark.parametrize("secure", [True, False])
async def test_a_body_in_pieces_arrives_whole_and_its_connection_is_kept(
    client: UpstreamClient, authority: Authority, secure: bool
) -> None:
    large = bytes(range(256)) * 4096
    pieces = [b"--head--", memoryview(large)[16:], b"", b"--tail--"]
    tls = authority.server("127.0.0.1") if secure else None
    async with FakeUpstream(lambda request: json_reply({"size": len(request.body)}), tls=tls) as fake:
        for reused in (False, True):
            response = await client.send(UpstreamRequest(fake.url, {}, pieces), stream=False)
            assert response.reused is reused
            assert await response.read() == b'{"size": %d}' % len(b"".join(pieces))
        assert {one.body for one in fake.received} == {b"".join(pieces)}


@pytest.mark.parametrize(
    "context",
    [
        lambda authority: authority.server("127.0.0.1", days=-1),
        lambda authority: authority.server("example.com"),
        lambda authority: Authority(authority.folder / "other").server("127.0.0.1"),
    ],
    ids=["expired", "wrong name", "unknown authority"],
)
async def test_t82_a_bad_certificate_is_a_failed_attempt(
    client: UpstreamClient, authority: Authority, context: Callable[[Authority], ssl.SSLContext]
) -> None:
    (authority.folder / "other").mkdir(exist_ok=True)
    async with FakeUpstream(lambda _: json_reply({}), tls=context(authority)) as fake:
        assert await refusal(client, fake.url) == "certificate_refused"
        assert not fake.received


async def test_t82_the_systems_trust_store_is_the_default() -> None:
    client = UpstreamClient("here")
    assert client.tls_context().verify_mode is ssl.CERT_REQUIRED
    assert client.tls_context().check_hostname
    await client.close()


async def test_t82_no_tls_where_tls_was_asked_for_is_no_fallback_to_plain_text(client: UpstreamClient) -> None:
    async with FakeUpstream(lambda _: json_reply({})) as fake:
        # A plain server waits for the request line that never comes; the handshake's bytes are no request.
        with pytest.raises(UpstreamFault, match="timeout  connect"):
            await client.send(post(fake.url.replace("http:", "https:")), stream=False)
        assert not fake.received


async def test_t82_a_refused_connection_and_an_unknown_name(client: UpstreamClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert await refusal(client, f"http://127.0.0.1:{port}/v1") == "connection_refused"
    assert await refusal(client, "https://no-such-host.invalid/v1") == "name_not_found"


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "0.0.0.0",
        "224.0.0.1",
        "[::ffff:169.254.169.254]",
        "100.100.100.200",
        "[::]",
    ],
)
async def test_t84_an_address_that_is_never_called_is_refused_when_connecting(
    client: UpstreamClient, host: str
) -> None:
    assert await refusal(client, f"http://{host}/v1") == "address_refused"


Answer = Callable[[], Awaitable[list[str]]]


@pytest.fixture
def resolver(client: UpstreamClient, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, Answer], None]:
    """Make a name resolve to what a function answers; everything else is looked up as ever."""
    plain = client.loop.getaddrinfo

    def answer_with(name: str, port: int, answer: Answer) -> None:
        async def lookup(host: Any, *rest: Any, **options: Any) -> list[Any]:
            if host != name:
                return await plain(host, *rest, **options)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in await answer()]

        monkeypatch.setattr(client.loop, "getaddrinfo", lookup)

    return answer_with


@pytest.mark.parametrize("answer", ["169.254.169.254", "127.0.0.1", "0.0.0.0"])
async def test_t84_a_name_that_turns_to_a_forbidden_address_is_refused(
    client: UpstreamClient, resolver: Callable[[str, int, Answer], None], answer: str
) -> None:
    """DNS rebinding: the name passed every check when it was written down."""

    async def rebound() -> list[str]:
        return [answer]

    resolver("api.example.com", 443, rebound)
    assert await refusal(client, "https://api.example.com/v1") == "address_refused"


async def test_t84_of_a_names_addresses_only_the_allowed_ones_are_called(
    client: UpstreamClient, resolver: Callable[[str, int, Answer], None]
) -> None:
    async def mixed() -> list[str]:
        return ["169.254.169.254", "127.0.0.1"]

    async with FakeUpstream(lambda _: json_reply({})) as fake:
        resolver("localhost", fake.port, mixed)
        response = await client.send(post(f"http://localhost:{fake.port}/v1"), stream=False)
        assert await response.read() == b"{}"


async def test_the_machine_s_own_name_is_looked_up_whatever_addresses_it_has_else(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an IPv6 address alone, AI_ADDRCONFIG would find no 127.0.0.1."""
    asked = {}

    async def lookup(host: str, *_: Any, flags: int, **options: Any) -> list[Any]:
        asked[host] = flags
        return []

    monkeypatch.setattr(client.loop, "getaddrinfo", lookup)
    for url in ("http://localhost:8000/v1", "https://api.example.com/v1"):
        assert await refusal(client, url) == "address_refused"
    assert asked == {"localhost": 0, "api.example.com": socket.AI_ADDRCONFIG}


async def test_a_name_is_looked_up_once_for_all_who_wait(
    client: UpstreamClient, resolver: Callable[[str, int, Answer], None]
) -> None:
    lookups = 0

    async def slow() -> list[str]:
        nonlocal lookups
        lookups += 1
        await asyncio.sleep(0.05)
        return ["127.0.0.1"]

    async with FakeUpstream(lambda _: json_reply({})) as fake:
        resolver("localhost", fake.port, slow)

        async def one() -> bytes:
            return await (await client.send(post(f"http://localhost:{fake.port}/v1"), stream=False)).read()

        leaver = asyncio.create_task(one())
        others = [asyncio.create_task(one()) for _ in range(5)]
        await asyncio.sleep(0.01)
        leaver.cancel()
        assert await asyncio.gather(*others) == [b"{}"] * 5
        assert lookups == 1


def test_one_call_can_be_made_without_a_loop() -> None:
    with FakeUpstream(lambda _: json_reply({"data": []}, 401)) as fake:
        request = UpstreamRequest(f"{fake.url}/models", {"authorization": "Bearer x"}, b"", method="GET")
        status, headers, body = call_once(request)
        assert (status, headers["content-type"], body) == (401, "application/json", b'{"data": []}')
        assert (fake.received[0].method, fake.received[0].path) == ("GET", "/v1/models")
