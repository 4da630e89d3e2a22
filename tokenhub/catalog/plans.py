"""A plan's own model names: an ordered list of model or ``provider/model`` names behind each.

A plan's name stands before the catalogue's, so it is refused when it would hide a model or
pin a provider; what stands behind it must be a catalogue name, so there is no chain and no
loop (T106).
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tokenhub.catalog import names, tables
from tokenhub.catalog.models import Catalog
from tokenhub.errors import InvalidRequest

TARGETS_MAX = 16


class Plan(Protocol):
    """What the catalogue needs of a plan (``accounts.Plan`` is one)."""

    @property
    def model_names(self) -> Mapping[str, tuple[str, ...]]:
        """Plan model name to catalogue names, in the order to try them."""
        ...


def check(catalog: Catalog, model_names: Mapping[str, Sequence[str]]) -> None:
    """Refuse a plan's model names that could not mean what they say; raises InvalidRequest."""
    for name, targets in model_names.items():
        if not tables.MODEL_NAME.fullmatch(name) or len(name) > tables.MODEL_NAME_CHARS:
            raise _refused(name, "is not a name a model can have")
        if name in catalog.names or name.partition("/")[0] in catalog.providers:
            raise _refused(name, "would hide a name of the catalogue")
        if not 1 <= len(targets) <= TARGETS_MAX or len(set(targets)) != len(targets):
            raise _refused(name, f"needs 1 to {TARGETS_MAX} models behind it, each once")
        for target in targets:
            if target in model_names:
                raise _refused(name, f"leads to another name of the plan, {target!r}; only catalogue names may follow")
            if names.target_of(catalog, target) is None:
                raise _refused(name, f"leads to {target[:80]!r}, which the catalogue does not know")


def _refused(name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"The plan's model name {name[:80]!r} {problem}.", param="model_names")
