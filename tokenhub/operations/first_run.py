"""What a brand-new installation gets, so that its first request needs no other command: an account and a key."""

from tokenhub.call import Capability
from tokenhub.catalog.models import Lifecycle
from tokenhub.operations import accounts, keys, models
from tokenhub.operations.hub import Hub
from tokenhub.operations.keys import KeyTerms, NewKey
from tokenhub.store import revision

ACCOUNT = "default"
KEY_NAME = "first key"


def first_key(hub: Hub) -> NewKey | None:
    """Make an account and a key for an installation that has no account; None when it has one.

    Only the default home gets them: whoever names a home or a database sets up accounts too.
    """
    if hub.home.explicit or hub.settings.database_url:
        return None
    with revision.change(hub.database):
        if accounts.listing(hub):
            return None
        state = accounts.create(hub, ACCOUNT)
        return keys.create(hub, state.account.id, KeyTerms(name=KEY_NAME))


def model_to_try(hub: Hub, *, local: bool) -> str | None:
    """Return the cheapest chat model that can be called now; ``local``: the embedded model runs."""
    chats = [
        state
        for state in models.listing(hub, capability=Capability.CHAT)
        if state.model.lifecycle in (Lifecycle.ACTIVE, Lifecycle.PREVIEW)
    ]
    prices = [
        (place.card.rates.output, place.card.rates.input, state.model.id)
        for state in chats
        for place in state.places
        if place.usable and (local or place.endpoint.provider.id != models.LOCAL)
    ]
    return min(prices)[2] if prices else None
