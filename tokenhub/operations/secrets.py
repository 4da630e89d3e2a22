"""The installation's own secrets: Stripe's keys, the mail password. Sealed at rest, never an option, never shown."""

import re
from typing import Final

from tokenhub import clock
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.operations import forms
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import stripe_api
from tokenhub.store import secrets as store
from tokenhub.store import stripe_events
from tokenhub.store.secrets import SecretState as SecretState

STRIPE_KEY: Final = "stripe.secret_key"
WEBHOOK_SECRETS: Final = ("stripe.webhook_secret", "stripe.webhook_secret_2")
"""Two, so that one can be rotated while the other still signs."""
SMTP_PASSWORD: Final = "smtp.password"  # noqa: S105
NOTICES_SECRET: Final = "notices.webhook_secret"  # noqa: S105

_NOT_KEPT: Final = "The key was not kept."

NAMES: Final = (STRIPE_KEY, *WEBHOOK_SECRETS, SMTP_PASSWORD, NOTICES_SECRET)
"""Every secret there is."""

_FORMS: Final = {
    STRIPE_KEY: (
        r"(sk|rk)_(test|live)_[A-Za-z0-9_]{8,250}",
        "It is sk_test_, sk_live_, rk_test_ or rk_live_ and 8 to 250 letters and digits more.",
    ),
    **dict.fromkeys(WEBHOOK_SECRETS, (r"whsec_[\x21-\x7e]{8,250}", "It is whsec_ and 8 to 250 characters more.")),
    SMTP_PASSWORD: (r"[^\x00-\x1f\x7f]{1,1000}", "It is one line of text."),
    NOTICES_SECRET: (r"[\x21-\x7e]{16,250}", "It has 16 to 250 visible ASCII characters."),
}


def set(hub: Hub, name: str, value: str) -> SecretState:
    """Keep a secret, in the place of an older one; spaces and line ends around it are dropped.

    Stripe's key is tried first, and its mode, test or live, is this installation's from then
    on: a key of the other one is refused (Conflict), so that play money never buys credit
    that real money pays for. Raises NotFound, InvalidRequest, and StripeError for a key that
    cannot be tried or is not accepted.
    """
    value = value.strip()
    _check(name, value)
    now_ms = clock.now_ms()
    if name != STRIPE_KEY:
        return store.put(hub.database, hub.vault, name, value, now_ms)
    livemode = is_live(value)
    _refuse_other_mode(stripe_events.livemode(hub.database), livemode)
    if _tried(hub, value) is not livemode:
        raise Conflict("Stripe says that this key is not of the mode that its first letters say. Nothing was kept.")
    with hub.database.write():
        _refuse_other_mode(stripe_events.set_up(hub.database, livemode, now_ms), livemode)
        return store.put(hub.database, hub.vault, name, value, now_ms)


def _tried(hub: Hub, key: str) -> bool:
    """Return whether a key moves real money, as Stripe says; an error says that the key was not kept."""
    try:
        return stripe_api.StripeApi(key, api_base(hub)).livemode()
    except stripe_api.StripeAuth as error:
        raise stripe_api.StripeAuth(f"{_NOT_KEPT} Stripe does not accept it, or it may not do this.") from error
    except (stripe_api.StripeUnknown, stripe_api.StripeLimited) as error:
        raise type(error)(
            f"{_NOT_KEPT} It is tried at Stripe first, which could not be reached or gave no clear answer. "
            "Try again: tokenhub config set stripe.secret_key"
        ) from error


def get(hub: Hub, name: str) -> str | None:
    """Return a secret, opened; None when it is not set."""
    return store.get(hub.database, hub.vault, _known(name))


def remove(hub: Hub, name: str) -> bool:
    """Forget a secret; False when it was not set. The mode of Stripe stays as it is."""
    return store.delete(hub.database, _known(name))


def listing(hub: Hub) -> list[SecretState]:
    """Return the secrets that are set, by name, with their last characters."""
    return store.states(hub.database)


def is_live(key: str) -> bool:
    """Tell whether a Stripe key says that it moves real money."""
    return key.partition("_")[2].startswith("live_")


def api_base(hub: Hub) -> str:
    """Return where Stripe's API is; empty for Stripe's own. A key is sent only over TLS or to this machine."""
    base = hub.settings.stripe_api_base.rstrip("/")
    try:
        if base:
            forms.stripe_api(base)
    except ValueError as error:
        raise InvalidRequest(f"stripe.api_base {error}.", param="stripe.api_base") from None
    return base


def _known(name: str) -> str:
    if name not in NAMES:
        raise NotFound(f"There is no secret {name[:60]!r}. Secrets: {', '.join(NAMES)}")
    return name


def _check(name: str, value: str) -> None:
    form, words = _FORMS[_known(name)]
    if re.fullmatch(form, value) is None:
        raise InvalidRequest(f"That is not a {name}. {words}", param=name)


def _refuse_other_mode(kept: bool | None, livemode: bool) -> None:
    if kept is not None and kept is not livemode:
        mode, other = ("live", "test") if kept else ("test", "live")
        raise Conflict(
            f"This installation works in Stripe's {mode} mode, and its ledger has {mode} top-ups only. "
            f"For {other} mode make another one: tokenhub init --home …",
            param=STRIPE_KEY,
        )
