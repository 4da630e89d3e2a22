"""What adapters share whose replies are whole: OpenAI's bodies or close to it, and tasks."""

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers.base import BaseAdapter
from tokenhub.wire.replies import StreamReader


class NotStreamed(BaseAdapter):
    """Refuses to stream."""

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:  # noqa: ARG002 (the contract's arguments)
        raise InvalidRequest(f"This model's {call.capability.value} come whole; leave stream out.", param="stream")


class WholeReplies(NotStreamed):
    """The same at an address of its own."""

    wire: Wire
    path: str
    """Under the base URL, where the catalogue names no other for this wire."""

    def url(self, deployment: Deployment) -> str:
        """Return where a deployment takes this wire."""
        return address(deployment, self.wire, self.path)


def address(deployment: Deployment, wire: Wire, path: str) -> str:
    """Return where a deployment takes a wire: where the catalogue says, else at this path under its base URL."""
    return deployment.url_of(wire) if deployment.speaks(wire) else f"{deployment.base_url}/{path}"


def is_sold_by(deployment: Deployment, kind: str) -> bool:
    """Say whether a deployment has a price for this kind of unit, at any time."""
    return any(period.card.has_unit(kind) for period in deployment.prices.periods)


def is_free(deployment: Deployment) -> bool:
    """Say whether a deployment asks for no tokens' price, at any time."""
    cards = [period.card for period in deployment.prices.periods]
    return bool(cards) and all(card.dearest(0) == (0, 0) and not card.tiers for card in cards)
