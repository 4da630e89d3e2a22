"""Why a request would go where it would go: the proxy's own planning, on the live state, without sending anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tokenhub import clock
from tokenhub.accounts.accounts import Account, ApiKey, Caller, KeyStatus
from tokenhub.billing import features
from tokenhub.call import Call, Capability
from tokenhub.catalog import data_policy, names
from tokenhub.catalog.data_policy import DataPolicy
from tokenhub.catalog.prices import PriceCard
from tokenhub.catalog.siblings import StandIn
from tokenhub.errors import HubError, InvalidRequest, NotFound
from tokenhub.ids import new_id
from tokenhub.operations import (
    accounts,
    advice,
    availability,
    callers,
    hello,
    keys,
    models,
    planning,
    snapshots,
    spoken,
)
from tokenhub.operations.hub import Hub
from tokenhub.operations.planning import Hints
from tokenhub.operations.snapshots import Snapshot
from tokenhub.routing import session
from tokenhub.routing.boundaries import Chain, Scope, Scoped
from tokenhub.routing.decision import SPARE, TRY, Decision
from tokenhub.routing.session import Session
from tokenhub.store import accounts as accounts_store
from tokenhub.store import affinities, preferences
from tokenhub.store.database import Database
from tokenhub.wire.json_body import parse_object
from tokenhub.wire.surface import Surface


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained."""

    model: str
    account: str | None = None
    """None: the only account, or the key's."""
    key: str | None = None
    """A key's id, or the beginning of it; None: as a key without a limit of its own."""
    body: bytes | None = None
    """A request body as a client sends it; None: one that says hello."""
    session: str | None = None
    """What a client would send as ``x-session-id``."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What planning came to. Either ``refusal`` is None, or the client would be told it."""

    asked: str
    caller: Caller
    has_key: bool
    """False: the caller is an account as such, without a key's own restrictions."""
    chain: Chain
    """The scopes that set something, the request's own last."""
    session: Session | None
    pinned: str | None
    """The deployment that this session's tool loop is held at."""
    now_ms: int
    decision: Decision | None = None
    """None: the request is refused before a deployment is looked at."""
    refusal: HubError | None = None
    cards: Mapping[str, PriceCard] = field(default_factory=dict)
    """Prices now, by deployment id."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Which part of all sessions a deployment comes first for, among those of its model that may be tried."""
    instead: tuple[StandIn, ...] = ()
    """What this caller could ask instead, where nothing can be tried."""
    policies: Mapping[str, DataPolicy] = field(default_factory=dict)
    """What holds for the data of requests, by deployment id."""


def explain(hub: Hub, question: Question) -> Explanation:
    """Plan a request as the proxy would at this moment; raises HubError for a question that cannot be asked."""
    now_ms = clock.now_ms()
    with hub.database.read():
        caller = _caller(hub, question, now_ms)
        snapshot = snapshots.read(hub.database, hub.vault, models.local_credentials(hub))
        known = availability.read(hub.database)
    surface, body, size_bytes = _asked(snapshot, caller, question, now_ms)
    try:
        if question.key is not None:
            callers.accepted(caller, now_ms)
        native, left_out = features.check(body, surface.wire)
        call, inside = surface.call(native, size_bytes)
        hints = planning.hints_of(native, left_out)
    except HubError as error:
        return _refused(question, caller, (*snapshot.chain, *caller.chain), now_ms, error)
    told = session.of(inside, question.session, native, account_id=caller.account.id, key=_session_key(hub))
    pinned = _pinned(hub, told, call, now_ms)
    decision: Decision | None
    refusal: HubError | None = None
    try:
        route = planning.planned(
            snapshot,
            caller,
            call,
            hints,
            inside,
            native,
            availability=known,
            seed=told.id if told is not None else new_id("req", now_ms).encode(),
            now_ms=now_ms,
            settings=hub.settings,
            pinned=pinned,
        )
        decision = route.decision
        if question.body is not None:  # hello may lack what a model cannot do without
            refusal = planning.refused_by_all(snapshot, call, route, inside, native)
    except HubError as error:
        refusal, decision = error, getattr(error, "decision", None)
    cards, shares = _cards_and_shares(snapshot, caller, call, hints, decision, now_ms)
    return Explanation(
        question.model,
        caller,
        question.key is not None,
        (*snapshot.chain, *caller.chain, *hints.chain),
        told,
        pinned,
        now_ms,
        decision,
        refusal,
        cards,
        shares,
        tuple(advice.instead_of(snapshot, caller, call, hints, decision, now_ms=now_ms))
        if refusal is not None and decision is not None and not any(one.verdict == TRY for one in decision.considered)
        else (),
        _policies(decision),
    )


def _refused(question: Question, caller: Caller, chain: Chain, now_ms: int, refusal: HubError) -> Explanation:
    return Explanation(question.model, caller, question.key is not None, chain, None, None, now_ms, refusal=refusal)


# Who asks ------------------------------------------------------------------------------------------


def _caller(hub: Hub, question: Question, now_ms: int) -> Caller:
    """Return the key's caller, or an account's as a key without limits of its own would be."""
    if question.key is None:
        return _without_key(hub.database, accounts.the_account(hub, question.account), now_ms)
    key = keys.find(hub, question.key).key
    caller = accounts_store.caller_of_key(hub.database, key.id)
    if caller is None:
        raise NotFound(f"Key {key.id} is gone.")
    if question.account is not None and accounts.the_account(hub, question.account).id != caller.account.id:
        raise InvalidRequest(f"Key {key.id} belongs to account {caller.account.name}.", param="account")
    return caller


def _without_key(database: Database, account: Account, now_ms: int) -> Caller:
    plan = accounts_store.plan_of(database, account.id)
    scopes: tuple[tuple[Scope, str], ...] = (("plan", plan.id), ("account", str(account.id)))
    stated = [Scoped(scope, subject, preferences.read(database, scope, subject)) for scope, subject in scopes]
    key = ApiKey(new_id("key", now_ms), account.id, 0, "", "", KeyStatus.ACTIVE)
    return Caller(key, account, plan, tuple(one for one in stated if not one.preferences.is_empty))


# What is asked -------------------------------------------------------------------------------------


def _asked(snapshot: Snapshot, caller: Caller, question: Question, now_ms: int) -> tuple[Surface, dict[str, Any], int]:
    """Return how the model is asked, with what, and its size; without a body given, hello in the model's own way."""
    if question.body is None:
        first = snapshot.resolve(question.model, caller).models[0]
        surface, raw = hello.to(question.model, first.capability, now_ms // 1000)
        return surface, surface.parse(raw), len(raw)
    capability = _capability(snapshot, caller, question.model)
    surface, body = spoken.surface_of(parse_object(question.body), question.model, capability, now_ms // 1000)
    return surface, surface.parse(orjson.dumps(body)), len(question.body)


def _capability(snapshot: Snapshot, caller: Caller, model: str) -> Capability:
    """Return what a name is asked for, also one that this key may not call: the plan says so, on the right surface."""
    spelled = caller.plan.model_names.get(model, (model,))
    targets = (names.target_of(snapshot.catalog, one) for one in spelled)
    return next((target.model.capability for target in targets if target is not None), Capability.CHAT)


def _session_key(hub: Hub) -> bytes:
    return hub.vault.derive(session.KEY_PURPOSE)


def _pinned(hub: Hub, told: Session | None, call: Call, now_ms: int) -> str | None:
    if told is None or not told.is_bound:
        return None
    return affinities.find(hub.database, session.pin_key(told, call.model, key=_session_key(hub)), now_ms)


# What it comes to ----------------------------------------------------------------------------------


def _policies(decision: Decision | None) -> dict[str, DataPolicy]:
    found = [] if decision is None else [one.deployment for one in decision.considered]
    return {one.id: data_policy.of(one.provider, one.region, one.credential) for one in found}


def _cards_and_shares(
    snapshot: Snapshot, caller: Caller, call: Call, hints: Hints, decision: Decision | None, now_ms: int
) -> tuple[dict[str, PriceCard], dict[str, float]]:
    """Return prices and shares of what was considered; shares only where sessions decide the order."""
    cards: dict[str, PriceCard] = {}
    shares: dict[str, float] = {}
    if decision is None:
        return cards, shares
    inside = {one.id for one in decision.considered if one.verdict in (TRY, SPARE)}
    for name in (call.model, *hints.fallbacks):
        for group in snapshot.survey(name, caller).groups:
            weighed = group.at(now_ms)
            cards.update((entrant.id, card) for entrant, card, _ in weighed if entrant.id not in cards)
            weights = {entrant.id: weight for entrant, _, weight in weighed if entrant.id in inside - shares.keys()}
            total = sum(weights.values())
            shares.update((one, weight / total) for one, weight in weights.items() if total)
    return cards, shares if decision.by in ("session", "pin") else {}
