"""The price of a request is the one at its hold, however long its body was on the way (docs/billing.md)."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes.raw_client import RawClient
from tests.fakes.upstream import FakeUpstream, json_reply, openai_chat, openai_usage
from tests.harness import start_gateway, temporary_home
from tokenhub import clock
from tokenhub.catalog.load import Override
from tokenhub.store import catalog as store


def model(peak: datetime) -> dict[str, object]:
    """A model that costs a hundred times as much from ``peak`` to the end of its day."""
    hours = f"{peak:%H:%M}-24:00"
    window = {"label": "peak", "weekdays_utc": [1, 2, 3, 4, 5, 6, 7], "utc": [hours], "input": "100", "output": "1000"}
    offering = {
        "provider": "openai",
        "regions": ["global"],
        "upstream_id": "m-1",
        "price": {"input": "1", "output": "10"},
    }
    return {
        "capability": "chat",
        "context": 200_000,
        "max_output": 4_000,
        "input_modalities": ["text"],
        "offerings": [{**offering, "price_windows": [window]}],
    }


def test_a_body_that_ends_inside_a_peak_is_billed_at_its_price(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    peak = (datetime.now(UTC) + timedelta(minutes=2)).replace(second=0, microsecond=0)
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("peak")), credit_nano=10**15)
    with FakeUpstream(lambda _: json_reply(openai_chat("x", usage=openai_usage(100, 100)))) as fake:
        with gateway.hub.database.write():
            store.put_override(gateway.hub.database, Override("model", "peaky", model(peak)), clock.now_ms())
        gateway.add_credential("openai", fake.url)
        body = json.dumps(
            {"model": "peaky", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
        ).encode()
        with RawClient(gateway.port) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
            client.send(head.encode())
            client.until(b"100 Continue")
            real = time.time_ns
            monkeypatch.setattr(time, "time_ns", lambda: real() + 120 * 10**9)
            client.send(body)
            (row,) = gateway.settled(1)
        gateway.stop()
    # 100 x 100 + 100 x 1000 USD per million, and 3 %.
    assert row["charged"] == 113_300_000
