"""``GET /v1/models`` and ``/v1/models/{id}``: what this key may call, and nothing else."""

from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tokenhub import clock
from tokenhub.accounts.accounts import Caller
from tokenhub.catalog import listing as catalog_listing
from tokenhub.catalog.models import Deployment
from tokenhub.errors import ModelNotFound, PermissionDenied
from tokenhub.operations.snapshots import Snapshot
from tokenhub.proxy.runtime import Runtime

_PREFIX_LENGTH = len("/v1/models/")


async def listing(_request: web.BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """List the models that this key may call and that a configured provider offers, and the plan's own names."""
    snapshot = runtime.snapshot
    data = [_describe(snapshot, caller, name) for name in _names(snapshot, caller)]
    found = [one for one in data if one is not None]
    return {"object": "list", "data": found, "total_count": len(found)}


async def one(request: web.BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """Describe one model, by any of its names."""
    name = unquote(request.raw_path.partition("?")[0][_PREFIX_LENGTH:])
    described = _describe(runtime.snapshot, caller, name)
    if described is None:
        raise ModelNotFound("No such model for this key; GET /v1/models lists what there is.", param="model")
    return described


def _names(snapshot: Snapshot, caller: Caller) -> list[str]:
    return [*caller.plan.model_names, *sorted(snapshot.catalog.models)]


def _is_served(deployment: Deployment, snapshot: Snapshot) -> bool:
    """Whether there is an endpoint that can call a deployment: the catalogue knows more than this gateway serves."""
    return (deployment.provider.id, deployment.model.capability) in snapshot.adapters


def _describe(snapshot: Snapshot, caller: Caller, name: str) -> dict[str, Any] | None:
    """Describe a name, or None when it does not resolve, nobody configured offers it, or the key may not call it."""
    try:
        found = snapshot.resolve(name, caller)
    except (ModelNotFound, PermissionDenied):
        return None
    deployments = [one for group in found.groups for one in group if _is_served(one, snapshot)]
    if not deployments:
        return None
    described = catalog_listing.describe(deployments[0].model, deployments, clock.now_ms())
    if name in caller.plan.model_names:
        described["id"] = name
    return described
