"""The contract with providers that answer with a task: create, ask how it is, cancel, fetch the result.

Creation is an adapter like any other (``adapter.py``): its reply carries the provider's id of
the task. All that comes after needs only what :class:`JobAt` says, so it works in another
process, after a restart, and with another catalogue. No I/O here.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable

from tokenhub.catalog.models import Credential, Deployment, Provider
from tokenhub.providers.adapter import Adapter, UpstreamRequest
from tokenhub.usage import Usage
from tokenhub.values import value

UNKNOWN_CODE: Final = "upstream_lost"
"""The code of every report whose phase is UNKNOWN."""


class Phase(StrEnum):
    """How a task stands at its provider."""

    QUEUED = "queued"
    RUNNING = "in_progress"
    COMPLETE = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The provider knows no such task, or no longer."""


@value
class JobAt:
    """A task at its provider: what is needed to ask for it, with the credential that made it."""

    provider: Provider
    base_url: str
    credential: Credential
    upstream_model: str
    upstream_id: str
    asked: Mapping[str, Any]
    """What :meth:`JobAdapter.asked` returned when it was made."""


@value
class Report:
    """What a provider says of a task. ``code`` and ``reason``: why it failed, in our words."""

    phase: Phase
    progress: int | None = None
    """Percent, where the provider tells."""
    usage: Usage | None = None
    """Of a complete task: always there."""
    url: str = field(default="", repr=False)
    """Where a complete task's result is. It opens the result for whoever has it: never kept, never logged."""
    thumbnail: str = field(default="", repr=False)
    code: str = ""
    reason: str = ""


@runtime_checkable
class JobAdapter(Adapter, Protocol):
    """How one provider's tasks are made, watched and fetched. Stateless."""

    def asked(self, body: Mapping[str, Any], deployment: Deployment) -> dict[str, Any]:
        """Return what is really asked of this deployment (seconds, size …), defaults filled in: plain data, no content.

        Raises InvalidRequest for what it cannot do.
        """
        ...

    def poll(self, job: JobAt) -> UpstreamRequest:
        """Return the request that asks how a task is."""
        ...

    def report(self, job: JobAt, status: int, headers: Mapping[str, str], body: bytes) -> Report:
        """Read the reply to it, whatever its status; raises UpstreamFault for one that says nothing of the task."""
        ...

    def cancel(self, job: JobAt) -> UpstreamRequest | None:
        """Return the request that cancels a task; None where there is none."""
        ...

    def content(self, job: JobAt, url: str) -> UpstreamRequest:
        """Return the request that fetches a result, or a redirect's target; raises UpstreamFault for an address outside its rules."""
        ...
