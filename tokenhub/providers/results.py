"""Where results may be fetched from: only an address that the provider gave, at a host the provider's data names.

A reply of a provider decides where the gateway connects to, so it is held to rules (no SSRF):
the origin of the provider's own API, or https on its usual port at one of ``result_hosts``.
What a name resolves to is checked once more when a connection is made (``addresses.py``).
"""

import re
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from tokenhub.catalog.models import Provider
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault

MAX_URL_CHARS = 8192
ADDRESS_REFUSED = "result_address"
"""The code of an address that nothing is fetched from."""


def checked(provider: Provider, base_url: str, url: str) -> str:
    """Return a result's address as it may be fetched; raises UpstreamFault (PROTOCOL, ``result_address``) for any other.

    http is read as https at ``result_hosts``: DashScope writes results' addresses with either
    (recordings of 2026-01 and its documentation), and the files are there on both.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _refused() from None
    if not url.isascii() or len(url) > MAX_URL_CHARS or any(mark <= " " or mark == "\x7f" for mark in url):
        raise _refused()
    if not host or "@" in parts.netloc or "\\" in url or parts.fragment:
        raise _refused()
    if is_own(base_url, parts):
        return url
    named = parts.scheme in ("https", "http") and port in (None, 443 if parts.scheme == "https" else 80)
    if not named or not any(_pattern(one).fullmatch(host) for one in provider.quirks["result_hosts"]):
        raise _refused()
    return parts._replace(scheme="https", netloc=host).geturl()


def is_own(base_url: str, parts: SplitResult) -> bool:
    """Say whether an address is at the very origin of the provider's API: only there the key is sent."""
    own = urlsplit(base_url)
    return (parts.scheme, parts.hostname, _port(parts)) == (own.scheme, own.hostname, _port(own))


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


@lru_cache(256)
def _pattern(host: str) -> re.Pattern[str]:
    """A host of the data: ``*`` stands for letters, digits and hyphens of one label."""
    return re.compile(re.escape(host).replace(r"\*", "[a-z0-9-]+"), re.ASCII)


def _refused() -> UpstreamFault:
    return UpstreamFault(Failure(FaultKind.PROTOCOL, None, ADDRESS_REFUSED))
