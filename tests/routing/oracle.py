"""What lies inside a boundary, said a second time and in another way, for the property tests to compare with.

It reads the preferences as plain JSON, scope by scope, and knows nothing of the code under
test: no helper of it is used.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from tokenhub.call import Call
from tokenhub.catalog.models import Deployment

MEMBER_STATES = "at be bg cy cz de dk ee es fi fr gr hr hu ie it lt lu lv mt nl pl pt ro se si sk"


def countries(region: str) -> set[str]:
    """Every country a region may be, by itself."""
    return set(MEMBER_STATES.split()) if region == "eu" else {region}


def possible(data_region: str) -> set[str] | None:
    """Where inference may run; None: anywhere."""
    return None if data_region in ("global", "unknown") else countries(data_region)


def reasons(one: Deployment, scopes: Sequence[Mapping[str, Any]], call: Call) -> set[str]:
    """Return the code of everything that keeps a deployment out of a call."""
    found = able(one, call)
    for scope in scopes:
        found |= broken(one, scope, call)
    return found


def broken(one: Deployment, scope: Mapping[str, Any], call: Call) -> set[str]:
    """Return the codes of a scope's rules that a deployment breaks."""
    found: set[str] = set()
    where = possible(one.region.data_region)
    if "regions" in scope:
        allowed = set().union(*(countries(name) for name in scope["regions"])) if scope["regions"] else set()
        if where is None or not any(where <= countries(name) for name in scope["regions"]):
            found.add("region_not_allowed")
        assert where is None or "region_not_allowed" in found or where <= allowed
    if any(where is None or where & countries(name) for name in scope.get("deny_regions", ())):
        found.add("region_denied")
    provider = (one.provider.id, one.provider.id + "@" + one.region.id)
    if "providers" in scope and not any(name in scope["providers"] for name in provider):
        found.add("provider_not_allowed")
    if any(name in scope.get("deny_providers", ()) for name in provider):
        found.add("provider_denied")
    bare = [one.model.id, *one.model.aliases]
    names = bare + [one.provider.id + "/" + name for name in bare]
    if "models" in scope and not any(name in scope["models"] for name in names):
        found.add("model_not_allowed")
    if any(name in scope.get("deny_models", ()) for name in names):
        found.add("model_denied")
    good_enough = {"no_training": ("no_training", "no_retention"), "no_retention": ("no_retention",)}
    if "data_policy" in scope and one.provider.data_policy not in good_enough[scope["data_policy"]]:
        found.add("data_policy")
    rates = one.prices.periods[0].card.rates
    for name, price in (("prompt", rates.input), ("completion", rates.output)):
        limit = scope.get("max_price", {}).get(name)
        if limit is not None and Decimal(price) / 10**12 > Decimal(limit):
            found.add("price_above_max")
    assert call.input_bytes >= 0
    return found


def able(one: Deployment, call: Call) -> set[str]:
    """Return the codes of what a deployment cannot do."""
    found: set[str] = set()
    traits, quirks = one.model.traits, one.provider.quirks
    if one.model.context and not call.images and call.input_bytes / 16 > one.model.context:
        found.add("context_too_short")
    if call.images and "image" not in one.model.input_modalities:
        found.add("modality")
    if call.uses_tools and not traits["tools"]:
        found.add("tools")
    if call.wants_json_schema and ("json_schema" not in quirks["response_formats"] or not traits["json_schema"]):
        found.add("json_schema")
    if call.choices > quirks["choices_max"]:
        found.add("parameter:n")
    return found
