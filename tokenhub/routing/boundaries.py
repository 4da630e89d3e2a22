"""What keeps a deployment out of a request: every scope's boundaries, and what the deployment cannot do.

A boundary only narrows, so the effective one is the intersection of all scopes (T107). What
is not known is outside: a deployment that runs "anywhere" or nowhere known is in no region,
and a denied region rules it out too, because it may run there (T104).
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tokenhub.call import Call, Capability, Wire
from tokenhub.catalog import data_policy, regions
from tokenhub.catalog.data_policy import DataPolicy
from tokenhub.catalog.models import Deployment
from tokenhub.catalog.prices import PriceCard, Rates
from tokenhub.money import exact_price
from tokenhub.routing.preferences import MaxPrice, Preferences

Scope = Literal["installation", "plan", "account", "key", "request"]

BYTES_PER_TOKEN_MOST: Final = 16
"""No text is denser: a body of more bytes than this for each token of a context does not fit into it."""
_PER_MILLION: Final = 10**6


@dataclass(frozen=True, slots=True, eq=False)
class Scoped:
    """What one scope sets. Compared by identity, so that a chain can be the key of a cache."""

    scope: Scope
    subject: str
    """Plan id, account id, key id; empty for the installation and the request."""
    preferences: Preferences


Chain = tuple[Scoped, ...]
"""The scopes that set something, the widest first: installation, plan, account, key, request."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a deployment is out: the rule, where it is set, and words for people."""

    code: str
    scope: str = ""
    """Empty: no one's rule, the deployment cannot do what is asked."""
    subject: str = ""
    detail: str = ""


Refuses = Callable[[Deployment], Sequence[str]]
"""Names the fields of the request that a deployment does not take as they are."""


def excluded(
    deployment: Deployment, card: PriceCard, chain: Chain, call: Call | None, refuses: Refuses | None = None
) -> Exclusion | None:
    """Return why a request may not use a deployment, or None: it lies inside every boundary.

    Without a ``call``: why no request could.
    """
    return (
        by_rule(deployment, chain)
        or by_price(deployment, card, chain, call)
        or (by_ability(deployment, call) or by_context(deployment, call) if call else None)
        or by_parameters(deployment, chain, refuses)
    )


# Rules: the same for every request of a caller ----------------------------------------------------


def by_rule(deployment: Deployment, chain: Chain) -> Exclusion | None:
    """Return the first rule of the chain about region, provider, model or data policy that a deployment breaks."""
    for scoped in chain:
        for code, detail in _broken(deployment, scoped.preferences):
            return Exclusion(code, scoped.scope, scoped.subject, detail)
    return None


def _broken(deployment: Deployment, wanted: Preferences) -> Iterable[tuple[str, str]]:
    where = deployment.region.data_region
    if wanted.regions is not None and not any(regions.contains(one, where) for one in wanted.regions):
        yield "region_not_allowed", f"runs in {_place(where)}; allowed: {_listed(wanted.regions)}"
    if wanted.deny_regions is not None and (
        denied := [one for one in wanted.deny_regions if regions.may_be_in(where, one)]
    ):
        yield "region_denied", f"runs in {_place(where)}; denied: {_listed(denied)}"
    provider = _provider_names(deployment)
    if wanted.providers is not None and provider.isdisjoint(wanted.providers):
        yield "provider_not_allowed", f"allowed: {_listed(wanted.providers)}"
    if wanted.deny_providers is not None and not provider.isdisjoint(wanted.deny_providers):
        yield "provider_denied", f"denied: {_listed(provider & wanted.deny_providers)}"
    if wanted.models is not None and _model_names(deployment).isdisjoint(wanted.models):
        yield "model_not_allowed", f"allowed: {_listed(wanted.models)}"
    if wanted.deny_models is not None and (found := _model_names(deployment) & wanted.deny_models):
        yield "model_denied", f"denied: {_listed(found)}"
    if wanted.data_policy is not None:
        policy = data_policy.of(deployment.provider, deployment.region, deployment.credential)
        if not policy.covers(wanted.data_policy):
            yield "data_policy", f"{_said(policy, deployment)}; asked for: {wanted.data_policy}"


def _said(policy: DataPolicy, deployment: Deployment) -> str:
    """Say whose word on the data of requests it is; clients are told this, so it names no credential."""
    provider = deployment.provider.id
    if policy.by == "operator":
        return f"the operator's agreement with {provider} says {policy.policy}"
    if policy.by == "nobody":
        return f"{provider} has stated nothing of where it is called"
    return f"{provider} states {policy.policy}"


def _provider_names(deployment: Deployment) -> set[str]:
    provider = deployment.provider.id
    return {provider, f"{provider}@{deployment.region.id}"}


def _model_names(deployment: Deployment) -> set[str]:
    """Return every name by which a rule can mean a deployment's model: an alias is as good as the id (T106)."""
    bare = (deployment.model.id, *deployment.model.aliases)
    return {*bare, *(f"{deployment.provider.id}/{name}" for name in bare)}


def _place(data_region: str) -> str:
    return {"global": "no one region (global)", "unknown": "a region that is not known"}.get(data_region, data_region)


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:8]) + (", …" if len(found) > 8 else "") if found else "nothing"


# What depends on the request -----------------------------------------------------------------------


def by_price(deployment: Deployment, card: PriceCard, chain: Chain, call: Call | None) -> Exclusion | None:
    """Return the first price limit of the chain that a token of a call could exceed, in any tier that it may reach."""
    for scoped in chain:
        limit = scoped.preferences.max_price
        if limit is not None and (detail := _above(deployment, card, limit, call)):
            return Exclusion("price_above_max", scoped.scope, scoped.subject, detail)
    return None


def _above(deployment: Deployment, card: PriceCard, limit: MaxPrice, call: Call | None) -> str:
    tokens = _prompt_most(call) if call else 0
    reached = [card.rates, *(rates for above, rates in card.tiers if tokens > above)]
    stated = (
        ("prompt", limit.prompt, max(_prompt_price(rates, call) for rates in reached)),
        ("completion", limit.completion, max(_output_price(rates, deployment) for rates in reached)),
    )
    for name, most, price in stated:
        if most is not None and price > most:
            return f"{name} costs {exact_price(price * _PER_MILLION)} USD per million tokens; at most {exact_price(most * _PER_MILLION)}"
    return ""


def _prompt_most(call: Call) -> int:
    """Return more tokens than a prompt can have; what is attached may be long however short it is written."""
    return sys.maxsize if call.images or call.audio_parts or call.files else call.input_bytes


def _prompt_price(rates: Rates, call: Call | None) -> int:
    """Return the most a token of a prompt can cost, but for what is written to a cache because the request asks for it."""
    if call is None:
        return rates.input
    image = rates.image_input if call.images or call.files else 0
    return max(rates.input, image, rates.audio_input if call.audio_parts else 0)


def _output_price(rates: Rates, deployment: Deployment) -> int:
    image = rates.image_output if "image" in deployment.model.output_modalities else 0
    return max(rates.output, rates.output_thinking, image)


def by_context(deployment: Deployment, call: Call) -> Exclusion | None:
    """Return that a text is too long for a deployment, where it is certain; what is attached may be short however it is written."""
    context = deployment.context
    attached = call.images or call.audio_parts or call.files
    if (
        not context
        or attached
        or call.input_bytes <= context * BYTES_PER_TOKEN_MOST
        or call.capability is not Capability.CHAT
    ):
        return None
    return Exclusion("context_too_short", detail=f"its context is {context} tokens")


def by_wire(call: Call) -> Exclusion:
    """Return that a deployment cannot be called in the wire of this call."""
    return Exclusion("wire", detail=f"does not speak {call.wire}")


def by_ability(deployment: Deployment, call: Call) -> Exclusion | None:
    """Return what a deployment cannot do that a call of this kind needs; its length is not looked at."""
    if call.capability is not Capability.CHAT:
        return None
    quirks, traits = deployment.provider.quirks, deployment.model.traits
    if traits["completions_only"] and call.wire is not Wire.COMPLETIONS:
        return by_wire(call)
    if call.uses_tools and not traits["tools"]:
        return Exclusion("tools", detail="takes no tools")
    if call.wants_json_schema and not (traits["json_schema"] and "json_schema" in quirks["response_formats"]):
        return Exclusion("json_schema", detail="takes no response_format json_schema")
    if call.choices > quirks["choices_max"]:
        return Exclusion("parameter:n", detail=f"gives at most {quirks['choices_max']} choices")
    return _by_modality(deployment, call, quirks["images"], quirks["file_parts"])


def _by_modality(deployment: Deployment, call: Call, images: str, file_parts: bool) -> Exclusion | None:
    if call.images and (images == "none" or "image" not in deployment.model.input_modalities):
        return Exclusion("modality", detail="takes no images")
    if call.files and not file_parts:
        return Exclusion("modality", detail="takes no files")
    return None


def by_parameters(deployment: Deployment, chain: Chain, refuses: Refuses | None) -> Exclusion | None:
    """Return the fields that a deployment does not take as they are, where some scope requires all of them."""
    if refuses is None:
        return None
    for scoped in chain:
        if scoped.preferences.require_parameters and (names := refuses(deployment)):
            detail = f"does not take {_listed(names)} as {'it is' if len(names) == 1 else 'they are'}"
            return Exclusion(f"parameter:{names[0]}", scoped.scope, scoped.subject, detail)
    return None


# What a chain comes to -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the scopes of a chain come to besides boundaries."""

    order: tuple[str, ...] = ()
    sort: str | None = None
    max_attempts: int | None = None
    failover: bool = True
    limited: str = ""
    """The scope that allows the fewest attempts."""
    prompt_cache: bool = False
    """Prompts may be written to a cache that costs extra."""


def wishes(chain: Chain) -> Wishes:
    """Return the order and the word on paid caches of the innermost scope that states one, and the fewest attempts that any scope allows."""
    order: tuple[str, ...] = ()
    sort = None
    attempts: int | None = None
    failover, limited, cache = True, "", False
    for scoped in chain:
        stated = scoped.preferences
        if stated.order or stated.sort:
            order, sort = stated.order, stated.sort
        cache = cache if stated.prompt_cache is None else stated.prompt_cache
        most = 1 if stated.failover is False else stated.max_attempts
        failover = failover and stated.failover is not False
        if most is not None and (attempts is None or most < attempts):
            attempts, limited = most, scoped.scope
    return Wishes(order, sort, attempts, failover, limited, cache)
