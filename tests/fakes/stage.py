"""A gateway and a provider that plays given bytes, for tests that follow a reply from its first byte to its bill.

Every provider has one scripted upstream behind it and prices that are all different, so
that a token which is charged in the wrong bucket shows in the sum.
"""

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import openai

from tests.fakes.assembler import Choice, assemble
from tests.fakes.dialects import BEFORE, Told, seen, whole_as_choice
from tests.fakes.upstream import Cut, FakeUpstream, Pause, Reply, Step, chunk, head
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub import clock
from tokenhub.catalog import load
from tokenhub.catalog.load import Override
from tokenhub.operations import credentials
from tokenhub.operations.credentials import NewCredential
from tokenhub.store import catalog as store

PRICES = {
    "input": "2.1",
    "cached_input": "0.31",
    "cache_write": "2.7",
    "cache_write_1h": "4.3",
    "audio_input": "5.9",
    "image_input": "3.7",
    "output": "11.3",
    "output_thinking": "13.1",
    "image_output": "17.9",
}
"""USD per million tokens."""
FEE_BP = 300
SECRET = "sk-upstream-secret-000001"
ANY_MODEL = {"chat": "any-chat", "embeddings": "any-embedding"}
"""Models of the operator's own at every provider, for names that the catalogue does not have."""


def bill_of(buckets: Mapping[str, int]) -> tuple[int, int]:
    """Return model fee and service fee in nano-USD: exact, each rounded up once."""
    dearest = max(Fraction(PRICES["input"]), Fraction(PRICES["output"]))
    rates = {name: Fraction(price) for name, price in PRICES.items()} | {"unknown": dearest}
    model_fee = ceil(sum(rates[name] * 1000 * tokens for name, tokens in buckets.items()))
    return model_fee, ceil(Fraction(model_fee * FEE_BP, 10_000))


@dataclass
class Seen:
    """What the SDK gave its user."""

    choices: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    call_ids: list[str] = field(default_factory=list)
    usage: dict[str, Any] | None = None
    usages: int = 0
    model: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    error: openai.APIError | None = None
    body: Any = None
    """The whole reply as a dictionary."""

    @property
    def counts(self) -> tuple[int, ...]:
        assert self.usage is not None
        shown = self.usage
        return (
            shown["prompt_tokens"],
            shown["completion_tokens"],
            shown["total_tokens"],
            shown["prompt_tokens_details"]["cached_tokens"],
            shown["completion_tokens_details"]["reasoning_tokens"],
        )


class Stage:
    """The gateway, the upstream and a client of OpenAI's own make."""

    def __init__(self, gateway: RunningGateway, fake: FakeUpstream, client: openai.OpenAI) -> None:
        self.gateway, self.fake, self.client = gateway, fake, client
        self._catalog = load.load(store.overrides(gateway.hub.database))

    def name_of(self, provider: str, model: str | None, capability: str) -> str:
        """Return the pinned name under which a model is called: its own, or the operator's where it has none."""
        found = self._catalog.names.get(model or "") or self._catalog.upstream_ids.get((provider, model or ""))
        for endpoint in self._catalog.endpoints.get(found or "", ()):
            if endpoint.provider.id == provider and endpoint.model.capability.value == capability:
                return f"{provider}/{model}@{endpoint.region.id}"
        region = next(iter(self._catalog.providers[provider].regions))
        return f"{provider}/{ANY_MODEL[capability]}-{provider}@{region}"

    def chat(self, body: Mapping[str, Any], reply: Reply) -> Seen:
        """Ask through the SDK while the upstream plays this reply; what was played before is not held against it."""
        self.gateway.forget_faults()
        self.fake.replies.clear()
        self.fake.add(reply)
        fields = dict(body)
        known = {name: fields.pop(name) for name in ("model", "messages", "stream", "stream_options") if name in fields}
        make = self.client.chat.completions.with_raw_response.create
        try:
            raw = make(**known, extra_body=fields)
        except openai.APIStatusError as error:
            return Seen(headers=error.response.headers, error=error)
        if not known.get("stream"):
            return self._whole(raw)
        return self._stream(raw)

    def _whole(self, raw: Any) -> Seen:
        body = raw.parse().model_dump(mode="json", exclude_unset=True)
        choices = {one["index"]: whole_as_choice(one) for one in body["choices"]}
        made = {index: seen(choice) for index, choice in choices.items()}
        for one in body["choices"]:
            _mark_media(made, one["index"], one["message"])
        return Seen(made, _ids(choices), body["usage"], 1, body["model"], raw.headers, body=body)

    def _stream(self, raw: Any) -> Seen:
        chunks: list[dict[str, Any]] = []
        error = None
        try:
            chunks.extend(one.model_dump(mode="json", exclude_unset=True) for one in raw.parse())
        except openai.APIError as raised:
            error = raised
        made = assemble(b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in chunks))
        choices = {index: seen(choice) for index, choice in made.choices.items()}
        for choice in (choice for one in chunks for choice in one["choices"]):
            _mark_media(choices, choice["index"], choice["delta"])
        model = chunks[0]["model"] if chunks else None
        return Seen(choices, _ids(made.choices), made.usage, made.usages, model, raw.headers, error, chunks)


def _ids(choices: Mapping[int, Choice]) -> list[str]:
    return [id for choice in choices.values() for id, _, _ in choice.calls]


def _mark_media(choices: dict[int, tuple[Any, ...]], index: int, part: Mapping[str, Any]) -> None:
    """Let what is seen of a choice without text say that there was a picture or a sound."""
    mark = "(audio)" if part.get("audio") else "(image)" if part.get("images") else ""
    choices[index] = (choices[index][0] or mark, *choices[index][1:])


@contextmanager
def open_stage(folder: Path, providers: Sequence[str], **flags: object) -> Iterator[Stage]:
    """Serve from a new home in which these providers have one price list and one upstream."""
    gateway = start_gateway(temporary_home(folder), {"upstream.idle_s": 5.0, **flags}, credit_nano=10**18)
    try:
        with (
            FakeUpstream([]) as fake,
            openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client,
        ):
            _add_credentials(gateway, fake, providers)
            _set_prices(gateway, providers)
            yield Stage(gateway, fake, client)
    finally:
        gateway.stop()


def _add_credentials(gateway: RunningGateway, fake: FakeUpstream, providers: Sequence[str]) -> None:
    for provider in providers:
        for region in load.load().providers[provider].regions:
            credentials.add(gateway.hub, NewCredential(provider, SECRET, region, base_url=fake.url))


def _set_prices(gateway: RunningGateway, providers: Sequence[str]) -> None:
    catalog = load.load()
    places = {
        f"{endpoint.provider.id}/{endpoint.model.id}"
        for endpoints in catalog.endpoints.values()
        for endpoint in endpoints
        if endpoint.provider.id in providers
    }
    rows = [Override("price", place, {"price": PRICES}) for place in places]
    for provider in providers:
        regions = list(catalog.providers[provider].regions)
        for capability, name in ANY_MODEL.items():
            offering = {"provider": provider, "regions": regions, "upstream_id": "any", "price": PRICES}
            table = {"capability": capability, "context": 10_000_000, "max_output": 100_000, "offerings": [offering]}
            table |= {"input_modalities": ["text", "image"]}
            rows.append(Override("model", f"{name}-{provider}", table))
    with gateway.hub.database.write():
        for row in rows:
            store.put_override(gateway.hub.database, row, clock.now_ms())


# --- what must hold of every reply


def assert_told(told: Told, seen: Seen, row: Mapping[str, Any]) -> None:
    """What the SDK's user sees is what the provider said; a reply that failed is an error and free."""
    if not told.failed:
        assert seen.error is None, seen.error
        assert seen.choices == told.choices, f"{seen.choices} is not {told.choices}"
        return
    assert isinstance(seen.error, openai.APIError)
    assert (seen.error.type, seen.error.code) == ("upstream_error", "upstream_error")
    assert (row["end"], row["charged"], row["status"]) == ("released", 0, 502)
    # What fails in the same read as its first content has shown nothing yet.
    if told.failed == BEFORE or isinstance(seen.error, openai.APIStatusError):
        assert isinstance(seen.error, openai.APIStatusError)
    else:
        assert [choice[:4] for choice in seen.choices.values()] == [choice[:4] for choice in told.choices.values()]


def assert_billed(told: Told, row: Mapping[str, Any], usage: Mapping[str, Any] | None) -> None:
    """The bill is usage times price and the fee on it, to the nano-USD, and the client is told so."""
    assert row["charged"] == row["model_fee"] + row["service_fee"]
    assert row["shortfall"] == 0
    if not told.billable:
        assert (row["end"], row["charged"]) == ("released", 0)
    elif told.counts is None:
        assert (row["end"], row["estimated"]) == ("settled", 1)
        assert 0 < row["charged"] <= row["held"]
    else:
        assert (row["end"], row["estimated"]) == ("settled", 0)
        assert (row["model_fee"], row["service_fee"]) == bill_of(told.buckets)
    if usage is None:
        return
    assert Decimal(usage["cost_details"]["total"]) == Decimal(row["charged"]).scaleb(-9)
    assert usage["cost"] == float(Decimal(row["charged"]).scaleb(-9))
    assert usage["cost_details"]["estimated"] is (told.counts is None)
    if told.counts is not None:
        assert Seen(usage=dict(usage)).counts == told.counts


# --- the same bytes, cut in different ways


def whole(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """The body in one piece, with its length."""
    return [head(status, {**(headers or {}), "Content-Length": str(len(body))}) + body]


def cut(body: bytes, places: Sequence[int], status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """The body cut at these places, ended by closing the connection."""
    borders = [0, *sorted(places), len(body)]
    steps: list[Step] = [head(status, {**(headers or {}), "Connection": "close"})]
    for start, end in itertools.pairwise(borders):
        steps += [body[start:end], Pause(0.001)]
    return [*steps, Cut()]


def dripped(body: bytes, chance: random.Random, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """The body in pieces of a few bytes, each a chunk of its own; the client gets time to read between some."""
    size = max(3, len(body) // 600)
    pieces, start = [], 0
    while start < len(body):
        length = chance.randint(1, 2 * size)
        pieces.append(chunk(body[start : start + length]))
        start += length
    steps: list[Step] = [head(status, {**(headers or {}), "Transfer-Encoding": "chunked"})]
    rest = max(1, len(pieces) // 20)
    for place, piece in enumerate(pieces):
        steps.append(piece)
        if place % rest == 0:
            steps.append(Pause(0.0005))
    return [*steps, b"0\r\n\r\n"]
