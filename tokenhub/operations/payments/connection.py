"""How this installation reaches Stripe: its key, opened, and the mode it belongs to."""

from tokenhub.errors import SetupError
from tokenhub.operations import secrets
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments.stripe_api import StripeApi
from tokenhub.store import secrets as store
from tokenhub.store import stripe_events


def connect(hub: Hub) -> StripeApi:
    """Return Stripe's API with this installation's key; no request is made yet.

    Raises SetupError when no key is set, or when it is not of the mode that the ledger is in
    (a database and a vault that do not belong together).
    """
    key = secrets.get(hub, secrets.STRIPE_KEY)
    if key is None:
        raise SetupError(
            "Stripe is not set up. Give its secret key, which is read from a prompt or standard input: "
            "tokenhub config set stripe.secret_key"
        )
    if stripe_events.livemode(hub.database) is not secrets.is_live(key):
        raise SetupError(
            "the Stripe key is not of the mode, test or live, that this installation's top-ups are in. "
            "Set the right one: tokenhub config set stripe.secret_key"
        )
    return StripeApi(key, secrets.api_base(hub))


def is_configured(hub: Hub) -> bool:
    """Tell whether a Stripe key is set; cheap enough to ask often."""
    return store.is_kept(hub.database, secrets.STRIPE_KEY)


def livemode(hub: Hub) -> bool | None:
    """Return whether real money moves here; None before Stripe was ever set up. Asks nobody."""
    return stripe_events.livemode(hub.database)
