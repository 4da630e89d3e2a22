"""``GET /v1/models``, ``/v1/models/{id}`` and ``/v1/models/{id}/endpoints``: what this key may call, and nothing else."""

from typing import Any
from urllib.parse import unquote

from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.accounts.accounts import Caller
from tokenhub.call import INSIDE
from tokenhub.catalog import endpoints as catalog_endpoints
from tokenhub.catalog import listing as catalog_listing
from tokenhub.catalog.models import Deployment
from tokenhub.errors import ModelNotFound, PermissionDenied
from tokenhub.operations import measures
from tokenhub.operations.snapshots import Snapshot
from tokenhub.proxy.runtime import Runtime

_PREFIX_LENGTH = len("/v1/models/")
_ENDPOINTS = "/endpoints"


async def listing(_request: BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """List the models that this key may call and that a configured provider offers, and the plan's own names."""
    snapshot = runtime.snapshot
    data = [_describe(snapshot, caller, name) for name in names(snapshot, caller)]
    found = [one for one in data if one is not None]
    return {"object": "list", "data": found, "total_count": len(found)}


async def one(request: BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """Describe one model, by any of its names; or its endpoints, when the path ends in ``/endpoints``."""
    name = unquote(request.raw_path.partition("?")[0][_PREFIX_LENGTH:])
    if name.endswith(_ENDPOINTS):
        return {"data": await _endpoints(runtime, caller, name.removesuffix(_ENDPOINTS))}
    described = _describe(runtime.snapshot, caller, name)
    if described is None:
        raise unknown(runtime.snapshot, caller, name)
    return described


def unknown(snapshot: Snapshot, caller: Caller, name: str) -> ModelNotFound:
    """Return the refusal of a name under which a key can call nothing, with the suggestions that a call of it gets."""
    try:
        snapshot.resolve(name, caller)
    except ModelNotFound as error:
        return error
    except PermissionDenied:
        pass
    return ModelNotFound(
        "No such model for this key; GET /v1/models lists what there is.", param="model", metadata={"suggestions": []}
    )


async def _endpoints(runtime: Runtime, caller: Caller, name: str) -> Any:
    """Describe where a name is served, and how well, to a key that may call it there."""
    deployments = callable_by(runtime.snapshot, caller, name)
    if not deployments:
        raise unknown(runtime.snapshot, caller, name)
    now_ms = clock.now_ms()
    measured = await runtime.read(
        lambda database: measures.of_places(database, deployments, runtime.availability, now_ms)
    )
    return catalog_endpoints.describe(name, deployments, measured, now_ms)


def names(snapshot: Snapshot, caller: Caller) -> list[str]:
    """Return every name that could be listed for a key: its plan's own, then the models'."""
    return [*caller.plan.model_names, *sorted(snapshot.catalog.models)]


def _is_served(deployment: Deployment, snapshot: Snapshot) -> bool:
    """Whether there is an endpoint that can call a deployment: the catalogue knows more than this gateway serves."""
    return (deployment.provider.id, INSIDE[deployment.model.capability]) in snapshot.adapters


def callable_by(snapshot: Snapshot, caller: Caller, name: str) -> list[Deployment]:
    """Return what a key may call under a name; nothing when it does not resolve or nobody configured offers it."""
    try:
        found = snapshot.resolve(name, caller)
    except (ModelNotFound, PermissionDenied):
        return []
    inside = snapshot.survey(name, caller).inside
    return [one for group in found.groups for one in group if one.id in inside and _is_served(one, snapshot)]


def _describe(snapshot: Snapshot, caller: Caller, name: str) -> dict[str, Any] | None:
    """Describe a name, or None when there is nothing that the key may call under it."""
    deployments = callable_by(snapshot, caller, name)
    if not deployments:
        return None
    described = catalog_listing.describe(deployments[0].model, deployments, clock.now_ms())
    if name in caller.plan.model_names:
        described["id"] = name
    return described
