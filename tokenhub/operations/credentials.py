"""Credentials: the hub's own keys at the providers. Added from a secret that was never on a command line, sealed, tested."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tokenhub import clock
from tokenhub.catalog import data_policy
from tokenhub.catalog.data_policy import DataPolicy
from tokenhub.catalog.models import Credential, Provider
from tokenhub.errors import Conflict, InvalidRequest, NotFound, SetupError
from tokenhub.operations import models
from tokenhub.operations.hub import Hub
from tokenhub.providers import addresses
from tokenhub.store import catalog as store
from tokenhub.store import circuits, revision
from tokenhub.store.catalog import CredentialState as CredentialState

_SECRET = re.compile(r"[\x21-\x7e]{1,4096}", re.ASCII)
_LABEL_LENGTH: Final = 60
_DEFAULT_REGIONS: Final = ("global", "default", "local")
"""Where a provider with several regions is called when none is named, if it has one of these."""

_VARIABLES: Final = (
    ("OPENAI_API_KEY", "openai", "global"),
    ("ANTHROPIC_API_KEY", "anthropic", "global"),
    ("GEMINI_API_KEY", "google", "global"),
    ("GOOGLE_API_KEY", "google", "global"),
    ("DEEPSEEK_API_KEY", "deepseek", "cn"),
    ("MOONSHOT_API_KEY", "moonshot", "intl"),
    ("DASHSCOPE_API_KEY", "alibaba", "cn-beijing"),
    ("ZHIPUAI_API_KEY", "zhipu", "cn"),
    ("ZAI_API_KEY", "zhipu", "intl"),
    ("OPENROUTER_API_KEY", "openrouter", "default"),
    ("GROQ_API_KEY", "groq", "default"),
    ("MISTRAL_API_KEY", "mistral", "default"),
)
"""What the providers' own SDKs read their key from, and the region whose key it is by default there."""


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential to be added. ``region`` None: the provider's usual one."""

    provider: str
    secret: str = field(repr=False)
    region: str | None = None
    base_url: str | None = None
    insecure_http: bool = False
    label: str = ""
    weight: int = 1
    data_policy: str | None = None
    """One of ``data_policy.STATEMENTS``: what the operator's own agreement says; None: what the provider states."""


@dataclass(frozen=True, slots=True)
class Found:
    """A key that stands in the environment and is not a credential yet."""

    variable: str
    provider: str
    region: str
    secret: str = field(repr=False)


def takes_secret(hub: Hub, provider_id: str) -> bool:
    """Tell whether a provider needs a key at all; asked before a person is asked for one."""
    return models.provider(models.catalog(hub.database), provider_id).auth != "none"


def add(hub: Hub, new: NewCredential) -> CredentialState:
    """Seal and keep a credential; the next request can use it."""
    if len(new.label) > _LABEL_LENGTH or not new.label.isprintable():
        raise InvalidRequest(f"--label has at most {_LABEL_LENGTH} printable characters.", param="label")
    base_url = new.base_url and addresses.validate_base_url(new.base_url, new.insecure_http)
    with revision.change(hub.database):
        provider = models.provider(models.catalog(hub.database), new.provider)
        region = _region(provider, new.region)
        if base_url is None and "{" in provider.regions[region].base_url:
            raise InvalidRequest(
                f"{provider.name} has a host of its own for each customer in {region}: give it with --base-url.",
                param="base_url",
            )
        if provider.id == models.LOCAL and base_url is None:
            raise InvalidRequest(
                "The embedded model needs no key: tokenhub serve runs it. A server of your own is another provider: tokenhub providers add"
            )
        _check_secret(new.secret, needed=provider.auth != "none")
        opened = Credential(0, provider.id, region, new.label, new.secret, base_url, new.weight, new.data_policy)
        _refuse_kept(hub, provider.id, region, base_url, new.secret)
        credential_id = store.insert_credential(
            hub.database, hub.vault, opened, insecure_http=new.insecure_http, now_ms=clock.now_ms()
        )
        return _existing(hub, credential_id)


def _refuse_kept(hub: Hub, provider: str, region: str, base_url: str | None, secret: str, but: int = 0) -> None:
    """Refuse a key that is kept already for the same address: it would count twice, and fail twice."""
    known = models.catalog(hub.database).providers.get(provider)
    usual = known.regions[region].base_url if known and region in known.regions else None
    for state in store.credential_states(hub.database):
        is_there = (state.provider, state.region) == (provider, region) and state.id != but
        if is_there and (state.base_url or usual) == (base_url or usual) and _holds(hub, state.id, secret):
            what = "has this key" if secret else "is there"
            is_used = state.status == store.ACTIVE
            hint = "list" if is_used else f"enable {state.id}"
            out = "" if is_used else f", and is {state.status}"
            raise Conflict(
                f"Credential {state.id} {what} already, for the same address{out}. See: tokenhub credentials {hint}"
            )


def _holds(hub: Hub, credential_id: int, secret: str) -> bool:
    """Tell whether a credential's secret is this one; one that does not open is the doctor's to tell of."""
    try:
        return store.credential(hub.database, hub.vault, credential_id).secret == secret
    except SetupError:
        return False


def _region(provider: Provider, region: str | None) -> str:
    if region is not None:
        if region not in provider.regions:
            raise NotFound(f"{provider.name} has no region {region[:40]!r}. Regions: {', '.join(provider.regions)}")
        return region
    if len(provider.regions) == 1:
        return next(iter(provider.regions))
    usual = next((name for name in _DEFAULT_REGIONS if name in provider.regions), None)
    if usual is None:
        raise InvalidRequest(
            f"{provider.name}'s keys belong to one region; say which with --region: {', '.join(provider.regions)}",
            param="region",
        )
    return usual


def _check_secret(secret: str, *, needed: bool) -> None:
    if not secret and not needed:
        return
    if _SECRET.fullmatch(secret) is None:
        raise InvalidRequest(
            "That is not a provider's key: it must be 1 to 4096 visible ASCII characters, without spaces.",
            param="secret",
        )


def _existing(hub: Hub, credential_id: int) -> CredentialState:
    state = store.credential_state(hub.database, credential_id)
    if state is None:
        raise NotFound(f"There is no credential {credential_id}. See: tokenhub credentials list")
    return state


def find(hub: Hub, credential_id: int) -> CredentialState:
    """Return one credential."""
    return _existing(hub, credential_id)


def listing(hub: Hub) -> list[CredentialState]:
    """Return every credential, the oldest first."""
    return store.credential_states(hub.database)


def data_policies(hub: Hub, states: Sequence[CredentialState]) -> dict[int, DataPolicy]:
    """Return what holds for the data of requests at each of these credentials, by their ids."""
    known = models.catalog(hub.database).providers
    return {
        state.id: data_policy.of(known[state.provider], known[state.provider].regions[state.region], state.closed())
        for state in states
        if state.provider in known and state.region in known[state.provider].regions
    }


def set_data_policy(hub: Hub, credential_id: int, policy: str | None) -> CredentialState:
    """State what the operator's own agreement says of a credential's data; None: nothing beyond what the provider states.

    It binds the next request in every process, and the next attempt of one that is under way.
    """
    with revision.change(hub.database):
        _existing(hub, credential_id)
        store.set_data_policy(hub.database, credential_id, policy)
        return _existing(hub, credential_id)


def providers(hub: Hub, *, local: bool) -> list[str]:
    """Return the providers that requests can go to now; ``local``: the embedded model runs."""
    active = {state.provider for state in listing(hub) if state.status == store.ACTIVE}
    return sorted(active | ({models.LOCAL} if local else set()))


def set_status(hub: Hub, credential_id: int, status: str) -> CredentialState:
    """Switch a credential off or on; the next attempt in every process knows (T110)."""
    with revision.change(hub.database):
        _existing(hub, credential_id)
        store.mark_credential(hub.database, credential_id, status)
        if status == store.ACTIVE:
            mended(hub, credential_id)
        return _existing(hub, credential_id)


def rotate(hub: Hub, credential_id: int, secret: str) -> CredentialState:
    """Put a new secret in the place of the old one; a failed or disabled credential is active again."""
    with revision.change(hub.database):
        state = _existing(hub, credential_id)
        _check_secret(secret, needed=True)
        _refuse_kept(hub, state.provider, state.region, state.base_url, secret, but=credential_id)
        store.replace_secret(hub.database, hub.vault, state, secret)
        mended(hub, credential_id)
        return _existing(hub, credential_id)


def mended(hub: Hub, credential_id: int) -> None:
    """Forget that a credential was throttled or its deployments failed, inside the caller's write; the next request tries."""
    if circuits.mended(hub.database, credential_id):
        revision.bump(hub.database)


def remove(hub: Hub, credential_id: int) -> CredentialState:
    """Forget a credential and its secret."""
    with revision.change(hub.database):
        state = _existing(hub, credential_id)
        store.delete_credential(hub.database, credential_id)
        circuits.mended(hub.database, credential_id)
        return state


def found_in_environment(hub: Hub, environment: Mapping[str, str]) -> list[Found]:
    """Return provider keys that stand in the environment and are not kept yet; nothing is taken (issue: never silently)."""
    with hub.database.read():
        providers = models.catalog(hub.database).providers
        states = store.credential_states(hub.database)
        kept = {(state.provider, store.credential(hub.database, hub.vault, state.id).secret) for state in states}
    found: dict[tuple[str, str], Found] = {}
    for variable, provider, region in _VARIABLES:
        secret = environment.get(variable, "").strip()
        known = provider in providers and region in providers[provider].regions
        if known and _SECRET.fullmatch(secret) and (provider, secret) not in kept:
            found.setdefault((provider, secret), Found(variable, provider, region, secret))
    return list(found.values())


def import_found(hub: Hub, found: Sequence[Found]) -> list[CredentialState]:
    """Keep these keys as credentials, all or none."""
    with revision.change(hub.database):
        return [
            add(hub, NewCredential(one.provider, one.secret, one.region, label=f"from {one.variable}")) for one in found
        ]
