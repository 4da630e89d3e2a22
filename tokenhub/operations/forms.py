"""What a text must look like that names a host, an address or a URL: of a setting, a subscription, an account, an option.

Each function takes the text and raises ValueError, in words that follow the text's name ("must be …").
A gateway starts with settings that are not so, as it always did; ``config set`` and the doctor tell of them.
"""

import re
from collections.abc import Callable, Mapping
from email.utils import parseaddr
from typing import Final
from urllib.parse import SplitResult, urlsplit

from tokenhub.providers import addresses
from tokenhub.settings import OPTIONS, Settings

_MAIL: Final = re.compile(r'[^\s@<>,;"\\]{1,64}@[^\s@<>,;"\\]{1,255}')
_HOST: Final = re.compile(r"[^\s/@?#\[\]\\,:]{1,255}")
_STRIPE: Final = re.compile(r"https://[^/\s]+|http://(localhost|127(\.[0-9]+){3}|\[::1\])(:[0-9]+)?")
_LONGEST_URL: Final = 2000


def host(text: str) -> None:
    """A name or an IP address, without a port."""
    if not (text.isprintable() and _HOST.fullmatch(text)) and not addresses.is_address(text):
        raise ValueError("must be a host alone, such as 127.0.0.1, ::1 or hub.example.com, without a port")


def mail_address(text: str) -> None:
    """An e-mail address."""
    if not (text.isprintable() and _MAIL.fullmatch(text)):
        raise ValueError("must be an e-mail address, such as ops@example.com")


def mail_addresses(text: str) -> None:
    """One e-mail address, or several with commas between them."""
    for one in text.split(","):
        mail_address(one.strip())


def sender(text: str) -> None:
    """An e-mail address, with a name before it or not."""
    mail_address(parseaddr(text)[1])


def url(text: str) -> SplitResult:
    """An address that can be called by HTTP; its parts are returned."""
    if len(text) > _LONGEST_URL or not text.isprintable() or " " in text:
        raise ValueError("must be one line without spaces")
    try:
        parts = urlsplit(text)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        named = None
    if not named or parts.username is not None or parts.fragment:
        raise ValueError("must be a plain http:// or https:// address")
    return parts


def public_url(text: str) -> None:
    """Where others reach the gateway: what is behind it is added by the gateway."""
    if url(text).query or "?" in text:
        raise ValueError("must be an http:// or https:// address without a query, such as https://hub.example.com")


def stripe_api(text: str) -> None:
    """Where Stripe's API is: a key is sent only over TLS or to this machine."""
    if _STRIPE.fullmatch(text.rstrip("/")) is None:
        raise ValueError("must be https://HOST, or http:// on this machine, without a path")


_FORMS: Final[Mapping[str, Callable[[str], object]]] = {
    "server.host": host,
    "server.public_url": public_url,
    "stripe.api_base": stripe_api,
    "smtp.host": host,
    "smtp.from": sender,
    "notices.email": mail_addresses,
    "notices.webhook_url": url,
}


def faults(chosen: Settings) -> dict[str, str]:
    """Return what is wrong with settings, each on its own or with another, by their keys."""
    found = {}
    for option in OPTIONS:
        text = getattr(chosen, option.name)
        if option.key in _FORMS and (text or option.default):  # empty switches the others off
            try:
                _FORMS[option.key](text)
            except ValueError as error:
                found[option.key] = str(error)
    if chosen.topup_min_usd > chosen.topup_max_usd:
        found["topup.min_usd"] = f"must not be above topup.max_usd ({chosen.topup_max_usd:g})"
        found["topup.max_usd"] = f"must not be below topup.min_usd ({chosen.topup_min_usd:g})"
    return found
