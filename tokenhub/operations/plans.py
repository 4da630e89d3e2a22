"""Plans: list, change, add."""

import re
from collections.abc import Mapping
from typing import Any

from tokenhub.accounts.accounts import Plan
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.operations.hub import Hub
from tokenhub.store import accounts as store
from tokenhub.store import revision
from tokenhub.store.database import Database

_TEXTS = ("support", "sla", "compliance")
_TEXT_LENGTH = 500
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII)


def existing(database: Database, plan_id: str) -> Plan:
    """Return a plan that must exist."""
    plan = store.plan(database, plan_id)
    if plan is None:
        known = ", ".join(plan.id for plan in store.plans(database))
        raise NotFound(f"There is no plan {plan_id[:40]!r}. Plans: {known}")
    return plan


def listing(hub: Hub) -> list[Plan]:
    """Return every plan."""
    return store.plans(hub.database)


def show(hub: Hub, plan_id: str) -> Plan:
    """Return one plan."""
    return existing(hub.database, plan_id)


def create(hub: Hub, plan: Plan) -> Plan:
    """Add a plan; its name must be free."""
    if _ID.fullmatch(plan.id) is None:
        raise InvalidRequest(
            f"{plan.id[:40]!r} cannot name a plan: use lower-case letters, digits, - and _, at most 40.", param="name"
        )
    _check_texts({name: getattr(plan, name) for name in _TEXTS})
    with revision.change(hub.database):
        _check_names(hub.database, plan.model_names)
        if store.plan(hub.database, plan.id) is not None:
            raise Conflict(f"There is a plan {plan.id!r} already. Change it with: tokenhub plans set {plan.id}")
        store.insert_plan(hub.database, plan)
        return existing(hub.database, plan.id)


def change(
    hub: Hub,
    plan_id: str,
    changes: Mapping[str, Any],
    *,
    model_names: Mapping[str, tuple[str, ...]] | None = None,
    dropped_names: tuple[str, ...] = (),
) -> Plan:
    """Change fee_bp, key_rpm, account_rpm, concurrency, support, sla or compliance; add, replace and drop model names."""
    if not (changes or model_names or dropped_names):
        raise InvalidRequest("Nothing to change: name at least one option. See: tokenhub plans set --help")
    _check_texts(changes)
    with revision.change(hub.database):
        plan = existing(hub.database, plan_id)
        columns = dict(changes)
        if model_names or dropped_names:
            columns["model_names"] = _changed_names(plan, model_names or {}, dropped_names)
            _check_names(hub.database, columns["model_names"])
        store.change_plan(hub.database, plan_id, columns)
        return existing(hub.database, plan_id)


def _check_texts(given: Mapping[str, Any]) -> None:
    """Refuse promises that are not one plain line each."""
    for name in given.keys() & _TEXTS:
        text = given[name]
        if len(text) > _TEXT_LENGTH or not text.isprintable():
            raise InvalidRequest(f"--{name} has at most {_TEXT_LENGTH} printable characters.", param=name)


def _check_names(database: Database, model_names: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse model names that could not mean what they say; the catalogue is read only when there are any."""
    if model_names:
        from tokenhub.catalog import plans as names
        from tokenhub.operations import models

        names.check(models.catalog(database), model_names)


def _changed_names(
    plan: Plan, added: Mapping[str, tuple[str, ...]], dropped: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    for name in dropped:
        if name not in plan.model_names:
            raise NotFound(f"Plan {plan.id!r} has no model name {name[:100]!r}.")
    kept = {name: targets for name, targets in plan.model_names.items() if name not in dropped}
    return {**kept, **added}
