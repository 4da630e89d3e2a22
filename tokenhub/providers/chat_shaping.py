"""One chat body on its way to one deployment: what the steps that bend it are given, and what they leave."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenhub.call import Call
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers.adapter import CacheHints


@dataclass(slots=True)
class Shaping:
    """One body on its way to one deployment. ``body`` is a copy; what is inside it is shared and never changed."""

    body: dict[str, Any]
    call: Call
    deployment: Deployment
    output_limit: int | None
    quirks: Mapping[str, Any]
    traits: Mapping[str, Any]
    dropped: list[str] = field(default_factory=list)
    thinks: bool = False
    """The model will reason in this request, as far as is known."""
    asked_to_think: bool = False
    hints: CacheHints = field(default_factory=CacheHints)

    def drop(self, name: str) -> None:
        """Leave a field out, and say so if the client had sent it."""
        if self.body.pop(name, None) is not None:
            self.dropped.append(name)

    def refuse(self, param: str, words: str) -> InvalidRequest:
        """Return the refusal of a field, with where and why."""
        where = f"{self.deployment.model.id} at {self.deployment.provider.id}"
        return InvalidRequest(f"{where} {words}", param=param)
