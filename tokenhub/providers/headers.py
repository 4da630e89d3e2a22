"""Which headers go upstream: a fixed few and the credential, never one of the client's (T56)."""

from collections.abc import Callable, Mapping

from tokenhub.catalog.models import Credential, Provider

_COMMON: Mapping[str, str] = {"content-type": "application/json", "accept": "application/json"}

AUTH: Mapping[str, Callable[[str], dict[str, str]]] = {
    "bearer": lambda secret: {"authorization": f"Bearer {secret}"},
    "x-api-key": lambda secret: {"x-api-key": secret},
    "x-goog-api-key": lambda secret: {"x-goog-api-key": secret},
    "api-key": lambda secret: {"api-key": secret},
    "none": lambda _secret: {},
}
"""How a provider wants its key, by the catalogue's ``auth``."""

ANTHROPIC: Mapping[str, str] = {"anthropic-version": "2023-06-01"}
"""Pinned: from 2026-10-21 on temperature, top_p and top_k are refused for every model (docs: versioning, 2026-11)."""

_EXTRA: Mapping[str, Mapping[str, str]] = {"anthropic": ANTHROPIC}
"""By adapter."""


def headers(provider: Provider, credential: Credential) -> dict[str, str]:
    """Return all headers of a request but those of the connection, which the client adds.

    A server that needs no key may still have one: ``none`` with a secret is sent as bearer.
    """
    auth = "bearer" if provider.auth == "none" and credential.secret else provider.auth
    return {**_COMMON, **_EXTRA.get(provider.adapter, {}), **AUTH[auth](credential.secret)}
