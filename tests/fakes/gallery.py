"""A gateway with the shipped image models behind scripted upstreams, for tests of images."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.upstream import FakeUpstream, Received, Reply, json_reply
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub import clock
from tokenhub.catalog import load
from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Catalog
from tokenhub.operations import credentials
from tokenhub.operations.credentials import NewCredential
from tokenhub.store import catalog as store

SECRET = "sk-upstream-secret-000001"
PLACES = {"openai": "global", "google": "global", "alibaba": "cn-beijing", "zhipu": "cn"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
PATHS = {"alibaba": "/compatible-mode/v1", "zhipu": "/api/paas/v4", "google": "/v1beta"}

OWN_MODELS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "wanx-v1": ("alibaba", {"traits": {"image_task": "text2image"}, "price": {"per_image": "0.02"}}),
    "dall-e-3": ("openai", {"price": {"per_image": {"": "0.04", "hd": "0.08", "hd 1024x1792": "0.12"}}}),
    "dall-e-2": ("openai", {"price": {"per_image": "0.02"}}),
    "imagen-MODEL": ("google", {"price": {"per_image": "0.03"}}),
    "gpt-image-1": ("openai", {"price": {"price": {"input": "5", "image_input": "10", "output": "40"}}}),
}
"""Models that the catalogue has not, or no longer."""

Script = Callable[[Received], Reply]


class Gallery:
    """The gateway and its upstream; ``play`` says what the upstream answers from now on."""

    def __init__(self, gateway: RunningGateway, fake: FakeUpstream) -> None:
        self.gateway, self.fake = gateway, fake

    def play(self, *replies: Reply | Script) -> None:
        """Let the upstream answer so, in order; the last one for ever. What was before is forgotten."""
        self.gateway.forget_faults()
        self.fake.received.clear()
        left = list(replies)

        def script(request: Received) -> Reply:
            one = left.pop(0) if len(left) > 1 else left[0]
            return one(request) if callable(one) else one

        self.fake.script = script

    @property
    def received(self) -> list[Received]:
        return list(self.fake.received)

    def ask(self, model: str, path: str = "generations", **fields: Any) -> Answer:
        body = {"model": model, "prompt": "a cat", **fields}
        return self.gateway.call("POST", f"/v1/images/{path}", {k: v for k, v in body.items() if v is not None})

    def send(self, path: str, content_type: str, raw: bytes) -> Answer:
        headers = {"Authorization": f"Bearer {self.gateway.key}", "Content-Type": content_type}
        return self.gateway.call("POST", f"/v1/images/{path}", raw, headers)

    def row(self, answer: Answer) -> dict[str, Any]:
        return self.gateway.row_of(answer)


def units_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return json.loads(row["units"] or "[]")


def assert_free(row: Mapping[str, Any]) -> None:
    assert (row["end"], row["charged"]) == ("released", 0)


def assert_paid(row: Mapping[str, Any], model_fee_nano: int, fee_bp: int = 300) -> None:
    """The charge is this model fee and the service fee on it, covered by the hold."""
    service = -(-model_fee_nano * fee_bp // 10_000)
    assert (row["end"], row["model_fee"], row["service_fee"]) == ("settled", model_fee_nano, service)
    assert row["charged"] == model_fee_nano + service <= row["held"]
    assert row["shortfall"] == 0


@contextmanager
def open_gallery(folder: Path, **flags: object) -> Iterator[Gallery]:
    """Serve from a new home whose image providers have one upstream; tasks are looked at every few milliseconds."""
    gateway = start_gateway(temporary_home(folder), {"upstream.idle_s": 5.0, **flags}, credit_nano=10**15)
    try:
        with FakeUpstream(lambda _: json_reply({})) as fake:
            for provider, region in PLACES.items():
                address = fake.origin + PATHS.get(provider, "/v1")
                credentials.add(gateway.hub, NewCredential(provider, SECRET, region, base_url=address))
            _override(gateway)
            yield Gallery(gateway, fake)
    finally:
        gateway.stop()


def _override(gateway: RunningGateway) -> None:
    catalog: Catalog = load.load()
    quirks = {**_stated(catalog, "alibaba"), "poll_ms": 5}
    rows = [Override("provider", "alibaba", {"quirks": quirks})]
    for name, (provider, data) in OWN_MODELS.items():
        price = data["price"]
        offering = {"provider": provider, "regions": [PLACES[provider]], "upstream_id": name, **price}
        table = {"capability": "images", "offerings": [offering], "traits": data.get("traits", {})}
        rows.append(Override("model", name, table))
    with gateway.hub.database.write():
        for row in rows:
            store.put_override(gateway.hub.database, row, clock.now_ms())


def _stated(catalog: Catalog, provider: str) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in catalog.providers[provider].quirks.items()}
