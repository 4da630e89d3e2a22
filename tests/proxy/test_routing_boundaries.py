"""Boundaries through the whole gateway: what lies outside sees no connection and its name is never looked up (T103)."""

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest

from tests.fakes.chains import SOAK, said_by
from tests.fakes.upstream import Cut, FakeUpstream, Received, Reply, json_reply, openai_error
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub.catalog.load import Override
from tokenhub.operations import credentials, keys, own_models, preferences, providers
from tokenhub.operations.keys import KeyTerms
from tokenhub.operations.own_models import OwnModel
from tokenhub.operations.preferences import Subject
from tokenhub.operations.providers import OwnProvider
from tokenhub.store import catalog, revision

MODEL, OTHER = "shared-model", "other-model"
PLACES = {"alpha": "eu", "beta": "us", "gamma": "cn", "delta": "global", "epsilon": "unknown"}
PRICES = {"alpha": ("1", "10"), "beta": ("2", "20"), "gamma": ("3", "30"), "delta": ("1", "10"), "epsilon": ("1", "10")}
CASES = 2_000 if SOAK else 300
BROKEN = json_reply(openai_error("x"), 500)
FAULTS: tuple[Reply, ...] = (
    BROKEN,
    json_reply(openai_error("x", "server_is_overloaded"), 503),
    json_reply(openai_error("unsupported_country_region_territory", "unsupported_country_region_territory"), 403),
    [Cut()],
)


@dataclass
class World:
    """A gateway with five providers, each in a region of its own and under a name of its own, and who was looked up."""

    gateway: RunningGateway
    fakes: dict[str, FakeUpstream]
    looked_up: list[str] = field(default_factory=list)
    key_id: str = ""

    def begin(self, faults: dict[str, Reply] | None = None) -> None:
        """Close every kept connection and forget every name, so that each use of an upstream is seen."""
        self.gateway.forget_faults()
        self.gateway.run(self._forget())
        self.looked_up.clear()
        for name, fake in self.fakes.items():
            reply = (faults or {}).get(name)
            fake.script = said_by(name) if reply is None else _always(reply)
            fake.connections = 0

    async def _forget(self) -> None:
        assert self.gateway.gateway is not None
        client = self.gateway.gateway.runtime.client
        for origin in client._origins.values():
            while origin.parked:
                origin.parked.popleft().abort()
        client._origins.clear()
        client._targets.clear()

    def ask(self, **fields: Any) -> Answer:
        return self.gateway.chat(fields.pop("model", MODEL), max_tokens=50, **fields)

    @property
    def touched(self) -> set[str]:
        """Who was connected to or looked up since ``begin``."""
        names = {name.removesuffix(".localhost") for name in self.looked_up}
        return names | {name for name, fake in self.fakes.items() if fake.connections}

    def set(self, scope: str, **members: Any) -> None:
        subject = {
            "installation": Subject(),
            "plan": Subject("plan", "starter"),
            "account": preferences.account(self.gateway.account_id),
            "key": preferences.key(self.key_id),
        }[scope]
        preferences.reset(self.gateway.hub, subject)
        if members:
            preferences.change(self.gateway.hub, subject, members)

    def clear(self) -> None:
        for scope in ("installation", "plan", "account", "key"):
            self.set(scope)


def _always(reply: Reply) -> Any:
    def answer(_: Received) -> Reply:
        return reply

    return answer


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("world")), {"upstream.retry_budget": 1.0})
    with ExitStack() as stack:
        stack.callback(gateway.stop)
        fakes = {name: stack.enter_context(FakeUpstream([])) for name in PLACES}
        for name, fake in fakes.items():
            prompt, completion = PRICES[name]
            models = [
                OwnModel(
                    one, f"{name}-{one}", {"input": prompt, "output": completion}, context=100_000, max_output=4_096
                )
                for one in ((MODEL, OTHER) if name in ("alpha", "gamma") else (MODEL,))
            ]
            url = fake.url.replace("127.0.0.1", f"{name}.localhost")
            providers.add(gateway.hub, OwnProvider(name, url, models, data_region=PLACES[name]))
            credentials.add(gateway.hub, credentials.NewCredential(name, f"sk-{name}-upstream-0001"))
        world = World(gateway, fakes, key_id=keys.listing(gateway.hub)[0].key.id)
        gateway.run(_watch_names(world))
        yield world


async def _watch_names(world: World) -> None:
    """Note every name that the gateway looks up, and answer it here."""
    loop = asyncio.get_running_loop()

    async def look_up(host: str, port: int, **_: Any) -> list[Any]:
        if host != "127.0.0.1":  # an address is no name; uvloop asks for it too when it connects
            world.looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    loop.getaddrinfo = look_up  # type: ignore[method-assign,assignment]


@pytest.fixture
def world(shared: World) -> World:
    shared.clear()
    shared.begin()
    return shared


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


def served_by(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["x-tokenhub-provider"]


# The property ------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_t103_no_connection_and_no_look_up_outside_the_boundary_whatever_fails(world: World) -> None:
    drawn = random.Random(4)
    inside_of = {
        "regions": lambda names: {one for one in PLACES if PLACES[one] in names},
        "deny_regions": lambda names: {one for one in PLACES if PLACES[one] not in (*names, "global", "unknown")},
        "providers": set,
        "deny_providers": lambda names: set(PLACES) - set(names),
    }
    statuses: dict[int, int] = {}
    for number in range(CASES):
        inside = set(PLACES)
        if number % 3 == 0:
            world.clear()
            stated: dict[str, tuple[str, list[str]]] = {}
            for scope in drawn.sample(("installation", "plan", "account", "key"), drawn.randint(0, 2)):
                rule = drawn.choice(list(inside_of))
                values = ["eu", "us", "cn"] if "regions" in rule else list(PLACES)
                stated[scope] = (rule, drawn.sample(values, drawn.randint(1, 2 if "deny" in rule else len(values))))
                world.set(scope, **{rule: stated[scope][1]})
        for rule, names in stated.values():
            inside &= inside_of[rule](names)
        hints: dict[str, Any] = {}
        if drawn.random() < 0.5:
            member = drawn.choice(("only", "ignore"))
            names = drawn.sample(list(PLACES), drawn.randint(1, 3))
            hints = {"provider": {member: names, "order": drawn.sample(list(PLACES), 2)}}
            inside &= set(names) if member == "only" else set(PLACES) - set(names)
        world.begin({name: drawn.choice(FAULTS) for name in PLACES if drawn.random() < 0.6})
        answer = world.ask(stream=drawn.random() < 0.3, **hints)
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        assert world.touched <= inside, (world.touched - inside, stated, hints)
        assert len(world.touched) <= 3
        assert (answer.status == 403) is (not inside), (answer.body, stated, hints)
        if answer.status == 200:
            assert answer.headers["x-tokenhub-provider"] in inside
    assert min(statuses.get(status, 0) for status in (200, 403, 502)) > CASES / 100, statuses


# The tests of the list ---------------------------------------------------------------------------------


def test_t104_an_eu_only_account_with_only_a_global_endpoint_is_a_403(world: World) -> None:
    world.set("account", regions=["eu"])
    world.set("key", providers=["delta", "epsilon"])
    answer = world.ask()
    error = answer.json()["error"]
    assert (answer.status, error["type"], error["code"]) == (403, "permission_denied", "no_eligible_provider")
    reasons = {one["provider"]: (one["reason"], one["scope"]) for one in error["metadata"]["excluded"]}
    assert reasons["delta"] == reasons["epsilon"] == ("region_not_allowed", "account")
    assert reasons["alpha"] == ("provider_not_allowed", "key")
    assert world.touched == set()
    assert world.gateway.rows("SELECT 1 FROM holds") == []


def test_t105_after_a_failover_the_log_and_the_credential_are_those_of_the_one_that_answered(world: World) -> None:
    world.begin({"alpha": BROKEN})
    answer = world.ask(provider={"order": ["alpha", "beta"], "only": ["alpha", "beta"]})
    assert (served_by(answer), answer.headers["x-tokenhub-region"], answer.headers["x-tokenhub-attempts"]) == (
        "beta",
        "default",
        "2",
    )
    for name in ("alpha", "beta"):
        assert world.fakes[name].received[-1].header("authorization") == f"Bearer sk-{name}-upstream-0001"


@pytest.mark.parametrize("name", [" alpha", "Alpha", "alph*", "*", "alpha/shared-model", "nobody", "alpha@nowhere"])
@pytest.mark.parametrize("member", ["only", "ignore", "order"])
def test_t106_a_provider_that_does_not_exist_is_a_400(world: World, member: str, name: str) -> None:
    answer = world.ask(provider={member: [name]})
    assert (answer.status, answer.json()["error"]["param"]) == (400, f"provider.{member}")
    assert world.touched == set()


@pytest.mark.parametrize("name", ["gamma/shared-model", "gamma/shared-model@default"])
def test_t106_a_pinned_name_reaches_no_further_than_the_boundary(world: World, name: str) -> None:
    world.set("account", deny_regions=["cn"])
    assert told(world.ask(model=name)) == (403, "no_eligible_provider")
    assert world.touched == set()


@pytest.mark.parametrize("narrow", list(product((False, True), repeat=3)))
def test_t107_all_intersections_of_account_key_and_request(world: World, narrow: tuple[bool, bool, bool]) -> None:
    stated = {"account": ["alpha", "beta"], "key": ["beta", "gamma"], "request": ["beta", "delta"]}
    inside = set(PLACES)
    for scope, on in zip(stated, narrow, strict=True):
        if on:
            inside &= set(stated[scope])
        if scope != "request":
            world.set(scope, **({"providers": stated[scope]} if on else {}))
    hints = {"provider": {"only": stated["request"]}} if narrow[2] else {}
    seen = {served_by(world.ask(content=f"{narrow} {number}", **hints)) for number in range(12)}
    assert seen <= inside
    assert world.touched == seen
    if sum(narrow) > 1:
        assert seen == {"beta"}


def test_t108_a_narrowed_boundary_binds_the_next_request_and_the_next_attempt(world: World) -> None:
    only = {"provider": {"order": ["gamma", "beta"], "only": ["beta", "gamma"]}}
    assert served_by(world.ask(**only)) == "gamma"

    def narrows(_: Received) -> Reply:
        world.set("account", deny_providers=["beta"])
        return BROKEN

    world.begin()
    world.fakes["gamma"].script = narrows
    answer = world.ask(**only)
    assert answer.status == 502
    assert world.touched == {"gamma"}
    world.begin()
    assert served_by(world.ask(**only)) == "gamma"
    world.set("account", deny_providers=["beta", "gamma"])
    assert told(world.ask(**only)) == (403, "no_eligible_provider")


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({"max_price": {"prompt": "1.5"}}, 403),
        ({"max_price": {"completion": "19.99"}}, 403),
        ({"data_policy": "no_training"}, 403),
        ({"max_attempts": 1}, 200),
        ({"failover": False}, 200),
        ({"max_price": {"prompt": "2", "completion": "20"}}, 200),
    ],
)
def test_t108_whatever_is_narrowed_binds_the_next_attempt_of_a_request_under_way(
    world: World, change: dict[str, Any], new: int
) -> None:
    """``new``: what the second provider alone then says to a new request."""
    only = {"provider": {"order": ["gamma", "beta"], "only": ["beta", "gamma"]}}

    def narrows(_: Received) -> Reply:
        world.set("account", **change)
        return BROKEN

    world.fakes["gamma"].script = narrows
    answer = world.ask(**only)
    tries_again = "max_price" in change and new == 200
    assert answer.status == (200 if tries_again else 502)
    assert world.touched == ({"gamma", "beta"} if tries_again else {"gamma"})
    assert world.ask(provider={"only": ["beta"]}).status == new


def test_t108_the_requests_own_boundary_binds_what_becomes_known_of_the_next_deployment(world: World) -> None:
    hub = world.gateway.hub
    held = {one.provider: one.id for one in credentials.listing(hub)}
    deny = {"provider": {"data_collection": "deny", "order": ["gamma"]}}

    def states(policy: str) -> Any:
        def script(_: Received) -> Reply:
            credentials.set_data_policy(hub, held["beta"], policy)
            return BROKEN

        return script

    try:
        for place in ("beta", "gamma"):
            credentials.set_data_policy(hub, held[place], "no_retention")
        world.fakes["gamma"].script = states("no_retention")
        assert served_by(world.ask(**deny)) == "beta"
        world.begin()
        world.fakes["gamma"].script = states("unknown")
        assert told(world.ask(**deny)) == (502, "upstream_error")
        assert world.touched == {"gamma"}
    finally:
        for credential_id in held.values():
            credentials.set_data_policy(hub, credential_id, None)


@pytest.mark.parametrize("change", ["policy", "address", "secret"])
def test_t108_a_request_is_not_sent_again_to_what_has_changed(world: World, change: str) -> None:
    """Its kept connection breaks; by then its own boundary rules the deployment out, or it is another's address or account."""
    hub, beta = world.gateway.hub, world.fakes["beta"]
    held = next(one.id for one in credentials.listing(hub) if one.provider == "beta")
    only = {"provider": {"data_collection": "deny", "only": ["beta"]}}

    def changes(_: Received) -> Reply:
        if change == "policy":
            credentials.set_data_policy(hub, held, "unknown")
        elif change == "address":
            move(world, "beta", world.fakes["alpha"].url)
        else:
            credentials.rotate(hub, held, "sk-beta-upstream-0002")
        return [Cut()]

    try:
        credentials.set_data_policy(hub, held, "no_retention")
        assert served_by(world.ask(**only)) == "beta"
        before = len(beta.received)
        beta.script = changes
        assert world.ask(**only).status == 502
        assert len(beta.received) == before + 1
    finally:
        credentials.set_data_policy(hub, held, None)
        credentials.rotate(hub, held, "sk-beta-upstream-0001")
        move(world, "beta", beta.url.replace("127.0.0.1", "beta.localhost"))


def test_sending_again_what_a_kept_connection_broke_is_no_second_attempt(world: World) -> None:
    beta, only = world.fakes["beta"], {"provider": {"only": ["beta"]}}
    world.set("account", failover=False)
    assert served_by(world.ask(**only)) == "beta"
    before, answers = len(beta.received), beta.script

    def breaks_once(received: Received) -> Reply:
        beta.script = answers
        return [Cut()]

    beta.script = breaks_once
    assert served_by(world.ask(**only)) == "beta"
    assert len(beta.received) == before + 2


def move(world: World, place: str, url: str) -> None:
    """Give a provider another address under the id of the same region."""
    database = world.gateway.hub.database
    with revision.change(database):
        own = next(one for one in catalog.overrides(database) if (one.kind, one.name) == ("provider", place))
        (region,) = own.data["regions"]
        changed = {**own.data, "regions": [{**region, "base_url": url}]}
        catalog.put_override(database, Override("provider", place, changed), 0)


def test_t108_the_next_attempt_goes_where_its_deployment_is_by_then(world: World) -> None:
    beta, only = world.fakes["beta"], {"provider": {"order": ["gamma", "beta"], "only": ["beta", "gamma"]}}
    with FakeUpstream(said_by("moved")) as moved:

        def moves(_: Received) -> Reply:
            move(world, "beta", moved.url)
            return BROKEN

        world.fakes["gamma"].script = moves
        try:
            assert served_by(world.ask(**only)) == "beta"
        finally:
            move(world, "beta", beta.url.replace("127.0.0.1", "beta.localhost"))
    assert (world.touched, len(moved.received)) == ({"gamma"}, 1)


@pytest.mark.parametrize("left", [True, False])
def test_t108_a_name_that_goes_away_takes_only_its_own_deployments_out(world: World, left: bool) -> None:
    """``left``: another name of the request still means something."""
    hub = world.gateway.hub
    passing = OwnModel("passing", "alpha-passing", {"input": "1", "output": "1"})
    own_models.add(hub, "alpha", passing)

    def removes(_: Received) -> Reply:
        own_models.remove(hub, "passing")
        return BROKEN

    world.fakes["gamma" if left else "alpha"].script = removes
    if left:
        order = {"order": ["gamma", "beta"], "only": ["alpha", "beta", "gamma"]}
        assert served_by(world.ask(provider=order, models=["passing"])) == "beta"
    else:
        added = credentials.add(hub, credentials.NewCredential("alpha", "sk-alpha-upstream-0002"))
        assert told(world.ask(model="passing")) == (404, "model_not_found")
        credentials.remove(hub, added.id)


def test_a_name_is_suggested_only_to_those_who_may_call_it(world: World) -> None:
    def suggested(name: str, secret: str = "") -> list[str]:
        headers = {"Authorization": f"Bearer {secret or world.gateway.key}"}
        body = {"model": name, "messages": [{"role": "user", "content": "x"}]}
        answer = world.gateway.call("POST", "/v1/chat/completions", body, headers)
        assert answer.status == 404
        found: list[str] = answer.json()["error"]["metadata"]["suggestions"]
        assert ("Did you mean" in answer.json()["error"]["message"]) is bool(found)
        for path in (f"/v1/models/{name}", f"/v1/models/{name}/endpoints"):
            described = world.gateway.call("GET", path, None, headers)
            assert (described.status, described.json()["error"]["code"]) == (404, "model_not_found")
            assert described.json()["error"]["metadata"]["suggestions"] == found
        return found

    assert suggested("other-modell")[0] == OTHER
    narrow = world.gateway.add_key(models=(MODEL,))
    assert suggested("other-modell", narrow) == [MODEL]
    hidden = world.gateway.call("GET", f"/v1/models/{OTHER}", None, {"Authorization": f"Bearer {narrow}"})
    assert (hidden.status, hidden.json()["error"]["metadata"]["suggestions"]) == (404, [])
    world.set("account", deny_providers=["alpha", "gamma"])
    assert suggested("other-modell") == [MODEL]
    world.set("account", deny_models=[MODEL, OTHER])
    assert suggested("other-modell") == []


def test_t108_a_rotated_key_keeps_its_boundaries(world: World) -> None:
    made = keys.create(world.gateway.hub, world.gateway.account_id, KeyTerms())
    preferences.change(world.gateway.hub, preferences.key(made.state.key.id), {"regions": ["eu"]})
    rotated = keys.rotate(world.gateway.hub, made.state.key.id)
    headers = {"Authorization": f"Bearer {rotated.secret}"}
    body = {"model": "gamma/shared-model", "messages": [{"role": "user", "content": "x"}]}
    assert told(world.gateway.call("POST", "/v1/chat/completions", body, headers)) == (403, "no_eligible_provider")


def test_t109_the_model_is_kept_unless_the_client_names_others(world: World) -> None:
    broken = dict.fromkeys(PLACES, BROKEN)
    world.begin(broken)
    assert world.ask(provider={"only": ["beta"]}).status == 502
    world.begin({"beta": BROKEN})
    answer = world.ask(provider={"only": ["alpha", "beta"], "order": ["beta"]}, models=[OTHER])
    assert (served_by(answer), answer.headers["x-tokenhub-model"]) == ("alpha", MODEL)
    world.set("account", deny_models=[MODEL])
    answer = world.ask(models=[OTHER])
    assert (answer.status, answer.headers["x-tokenhub-model"]) == (200, OTHER)


def test_t110_a_provider_that_is_switched_off_is_chosen_no_more(world: World) -> None:
    found = next(one for one in credentials.listing(world.gateway.hub) if one.provider == "alpha")
    only = {"provider": {"only": ["alpha", "beta"], "order": ["alpha"]}}
    assert served_by(world.ask(**only)) == "alpha"
    credentials.set_status(world.gateway.hub, found.id, "disabled")
    try:
        world.begin()
        assert {served_by(world.ask(content=f"{number}", **only)) for number in range(6)} == {"beta"}
        assert world.touched == {"beta"}
    finally:
        credentials.set_status(world.gateway.hub, found.id, "active")


def test_t18_failover_off_is_one_attempt_wherever_it_is_said(world: World) -> None:
    for scope in ("installation", "account", "key", "request"):
        world.clear()
        hints = {"provider": {"allow_fallbacks": False}} if scope == "request" else {}
        if not hints:
            world.set(scope, failover=False)
        world.begin(dict.fromkeys(PLACES, BROKEN))
        answer = world.ask(**hints)
        assert told(answer) == (502, "upstream_error")
        assert len(world.touched) == 1
        assert answer.json()["error"]["metadata"]["provider"] in world.touched


def test_a_refusal_of_the_gateway_itself_moves_on_inside_the_boundary_only(world: World) -> None:
    refusing = json_reply(openai_error("x", "unsupported_country_region_territory"), 403)
    world.begin({"alpha": refusing})
    answer = world.ask(provider={"only": ["alpha", "beta"], "order": ["alpha"]})
    assert served_by(answer) == "beta"
    assert world.touched == {"alpha", "beta"}


@pytest.mark.parametrize(
    "fields", [{"session_id": "s-1"}, {"models": [OTHER]}, {"models": None}, {"provider": None}, {"provider": {}}]
)
def test_openrouters_fields_are_taken_and_never_sent_on(world: World, fields: dict[str, Any]) -> None:
    assert served_by(world.ask(**fields)) in PLACES
    sent = [fake.received[-1].json() for fake in world.fakes.values() if fake.connections][-1]
    assert not {"session_id", "models", "provider"} & sent.keys()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"provider": {"quantizations": ["fp8"]}}, "provider.quantizations"),
        ({"provider": {"max_price": {"image": 1}}}, "provider.max_price.image"),
        ({"provider": "alpha"}, "provider"),
        ({"models": "other-model"}, "models"),
        ({"models": ["no-such-model"]}, "model"),
        ({"extra_body": {"provider": {"only": ["alpha"]}}}, "extra_body.provider"),
        ({"extra_body": {"models": [OTHER]}}, "extra_body.models"),
    ],
)
def test_what_is_not_known_is_a_client_error_that_names_it(world: World, fields: dict[str, Any], param: str) -> None:
    answer = world.ask(**fields)
    assert (answer.status, answer.json()["error"]["param"]) in ((400, param), (404, param))
    assert world.touched == set()


def test_max_price_and_data_collection_are_boundaries(world: World) -> None:
    cheap = {"provider": {"max_price": {"prompt": 1.5, "completion": 15}}}
    seen = {served_by(world.ask(content=f"{number}", **cheap)) for number in range(8)}
    assert seen <= {"alpha", "delta", "epsilon"}
    assert told(world.ask(provider={"data_collection": "deny"})) == (403, "no_eligible_provider")
    assert world.ask(provider={"data_collection": "allow"}).status == 200


def test_t104_what_the_operator_has_agreed_on_binds_the_next_request(world: World) -> None:
    hub = world.gateway.hub
    held = {one.provider: one.id for one in credentials.listing(hub)}
    deny = {"provider": {"data_collection": "deny"}}
    try:
        credentials.set_data_policy(hub, held["beta"], "no_retention")
        credentials.set_data_policy(hub, held["gamma"], "no_training")
        assert {served_by(world.ask(content=f"{number}", **deny)) for number in range(6)} == {"beta"}
        assert world.touched == {"beta"}
        world.set("account", data_policy="no_training")
        assert {served_by(world.ask(content=f"{number}")) for number in range(20)} == {"beta", "gamma"}
        assert world.touched == {"beta", "gamma"}

        def ends(_: Received) -> Reply:
            credentials.set_data_policy(hub, held["beta"], None)
            return BROKEN

        world.begin()
        world.fakes["gamma"].script = ends
        assert world.ask(provider={"order": ["gamma", "beta"]}).status == 502
        assert world.touched == {"gamma"}
        credentials.set_data_policy(hub, held["gamma"], None)
        answer = world.ask()
        assert told(answer) == (403, "no_eligible_provider")
        details = {one["detail"] for one in answer.json()["error"]["metadata"]["excluded"]}
        assert "beta has stated nothing of where it is called; asked for: no_training" in details
    finally:
        for credential_id in held.values():
            credentials.set_data_policy(hub, credential_id, None)


def test_required_parameters_keep_out_who_would_drop_one(world: World) -> None:
    hub = world.gateway.hub
    with hub.database.write():
        alpha = next(one for one in catalog.overrides(hub.database) if (one.kind, one.name) == ("provider", "alpha"))
        changed = {**alpha.data, "quirks": {"drop_fields": ["seed"], "temperature_max": "1"}}
        catalog.put_override(hub.database, Override("provider", "alpha", changed), 0)
    strict = {"provider": {"require_parameters": True, "only": ["alpha", "beta"], "order": ["alpha"]}}
    assert served_by(world.ask(**strict)) == "alpha"
    world.begin()
    assert served_by(world.ask(seed=7, **strict)) == "beta"
    assert served_by(world.ask(temperature=1.7, **strict)) == "beta"
    answer = world.ask(seed=7, model="alpha/shared-model", **strict)
    assert told(answer) == (403, "no_eligible_provider")
    assert [one["reason"] for one in answer.json()["error"]["metadata"]["excluded"]] == ["parameter:seed"]
    assert world.touched == {"beta"}
    lowered = world.ask(temperature=1.7, model="alpha/shared-model")
    assert (served_by(lowered), lowered.headers["x-tokenhub-dropped"]) == ("alpha", "temperature")
    assert world.fakes["alpha"].received[-1].json()["temperature"] == 1


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"service_tier": "flex"}, ["service_tier"]),
        ({"store": True, "prediction": {"type": "content", "content": "x"}}, ["prediction", "store"]),
        ({"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}]}, ["tools.web_search"]),
    ],
)
def test_required_parameters_keep_out_all_where_a_field_was_left_out_at_the_door(
    world: World, fields: dict[str, Any], names: list[str]
) -> None:
    def refused(answer: Answer) -> None:
        assert told(answer) == (403, "no_eligible_provider")
        metadata = answer.json()["error"]["metadata"]
        assert {one["reason"] for one in metadata["excluded"]} == {f"parameter:{names[0]}"}
        assert all(name in one["detail"] for one in metadata["excluded"] for name in names)
        assert metadata.get("suggestions", []) == []
        assert world.touched == set()

    refused(world.ask(**fields, provider={"require_parameters": True}))
    world.set("account", require_parameters=True)
    refused(world.ask(**fields))
    assert world.ask().status == 200
    world.clear()
    served = world.ask(**fields)
    assert (served.status, served.headers["x-tokenhub-dropped"]) == (200, ",".join(names))


def test_p22_the_list_of_models_is_what_the_boundaries_leave(world: World) -> None:
    listed = {one["id"]: one for one in world.gateway.call("GET", "/v1/models").json()["data"]}
    assert set(listed) >= {MODEL, OTHER}
    world.set("account", regions=["us"])
    listed = {one["id"]: one for one in world.gateway.call("GET", "/v1/models").json()["data"]}
    assert set(listed) & {MODEL, OTHER} == {MODEL}
    assert [one["provider"] for one in listed[MODEL]["providers"]] == ["beta"]
