"""Where an upstream may be: the base URL an operator may give, and the addresses that are never called.

A provider's host name can be made to point anywhere, so the address is checked when a
connection is made, not when the URL is written down (T84). Never called are addresses that
only a machine's own environment answers: link-local ones, the metadata services of clouds,
multicast, unspecified. Loopback is called only when the URL itself says loopback.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from tokenhub.errors import InvalidRequest, LoopDetected

HOP_HEADER = "x-tokenhub-hop"
"""Names the TokenHub instances that a request has passed, so that a loop is seen (T66)."""

MAX_HOPS = 4
"""More gateways behind one another than this are taken for a loop."""

# AWS and Oracle in IPv6, Alibaba, Azure's host agent, Oracle: checked 2026-11-22, each cloud's page on instance metadata.
_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in ("fd00:ec2::254", "fd00:c1::a9fe:a9fe", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HOP = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HOST = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*", re.ASCII)
_ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/messages", "/responses")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.ASCII)


def _effective(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address that is really reached: the IPv4 one inside a mapped, 6to4 or NAT64 address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        return ip.ipv4_mapped or ip.sixtofour or ip
    return ip


def refused(address: str, *, loopback: bool) -> bool:
    """Return whether an address must not be called; ``loopback`` says that the URL itself names loopback."""
    ip = _effective(address)
    if ip.is_loopback:
        return not loopback
    return ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved or ip in _METADATA


def is_address(host: str) -> bool:
    """Return whether a host is an IP address and no name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host of a URL names this machine in so many words."""
    return host == "localhost" or host.endswith(".localhost") or (is_address(host) and _effective(host).is_loopback)


def validate_base_url(url: str, insecure_http: bool = False) -> str:
    """Return an operator's base URL in its plain form, without a final slash, or refuse it with the reason.

    https is needed unless the host is loopback or ``insecure_http`` was said. Raises
    InvalidRequest (``param`` base_url); the message repeats nothing that may hold a secret: no user, query or
    fragment.
    """
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url) or "\\" in url:
        raise _refusal("may hold only visible ASCII characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _refusal("is not a URL such as https://api.example.com/v1") from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise _refusal("is not a URL such as https://api.example.com/v1")
    if "@" in parts.netloc:
        raise _refusal("must not hold a user name or password; give the key as the credential's secret")
    if "?" in url or "#" in url:
        raise _refusal("must not hold a query or a fragment")
    if "%" in url or any(step in (".", "..") for step in parts.path.split("/")):
        raise _refusal("must not hold % escapes or dot segments")
    _check_host(host)
    if parts.scheme == "http" and not is_loopback(host) and not insecure_http:
        raise _refusal("must begin with https; say --insecure-http to send keys and prompts in the clear")
    shown = f"[{host}]" if ":" in host else host
    default = 443 if parts.scheme == "https" else 80
    plain = f"{parts.scheme}://{shown}{'' if port in (None, default) else f':{port}'}{parts.path.rstrip('/')}"
    if endpoint := next((one for one in _ENDPOINTS if plain.endswith(one)), None):
        raise _refusal(f"must end before {endpoint}, which is put under it: give {plain.removesuffix(endpoint)}")
    return plain


def _check_host(host: str) -> None:
    if is_address(host):
        if refused(host, loopback=True):
            raise _refusal("names an address that is never called: link-local, metadata, multicast or unspecified")
        return
    # 2130706433, 0x7f.1 and 127.1 are names to us but addresses to the resolver.
    if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
        raise _refusal("writes an IP address in an unusual form; write it as 203.0.113.7")
    if not _HOST.fullmatch(host) or len(host) > 253 or any(len(label) > 63 for label in host.split(".")):
        raise _refusal("does not name a host")


def _refusal(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The base URL {reason}.", code="invalid_base_url", param="base_url")


def next_hop(incoming: str | None, instance: str) -> str:
    """Return the hop header to send upstream for a request that arrived with ``incoming``.

    Raises LoopDetected when this instance is already on the list, or when the list is long
    or malformed: a provider's URL leads back here (T66).
    """
    if not incoming:
        return instance
    passed = [hop.strip() for hop in incoming.split(",", MAX_HOPS + 1)]
    if instance in passed or len(passed) >= MAX_HOPS or not all(_HOP.fullmatch(hop) for hop in passed):
        raise LoopDetected(
            "This request has already passed through this gateway: a provider's base URL leads back to it."
        )
    return ",".join([*passed, instance])
