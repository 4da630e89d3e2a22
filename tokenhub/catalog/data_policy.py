"""What holds for the data of requests at one credential of a provider's region, and who says so.

A provider's own statement is data of the catalogue, of the provider or of one of its regions.
What the operator has agreed on with the provider stands with the credential and goes before it,
either way: a contract can say more than the public page, a free tier says less. Who states
nothing keeps and trains on everything, and a statement is of the provider's own hosts alone (T104).
"""

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from tokenhub.catalog.models import Credential, Provider, Region

UNKNOWN: Final = "unknown"
DATA_POLICIES: Final = ("no_training", "no_retention")
"""What can be stated and asked for, the stricter last: who keeps nothing trains on nothing."""
STATEMENTS: Final = (*DATA_POLICIES, UNKNOWN)

By = Literal["operator", "provider", "nobody"]


@dataclass(frozen=True, slots=True)
class DataPolicy:
    """One of ``STATEMENTS``, and whose word it is."""

    policy: str
    by: By

    def covers(self, wanted: str) -> bool:
        """Say whether this is at least what is wanted, one of ``DATA_POLICIES``."""
        return self.policy in DATA_POLICIES and DATA_POLICIES.index(self.policy) >= DATA_POLICIES.index(wanted)


def of(provider: Provider, region: Region, credential: Credential) -> DataPolicy:
    """Return what holds for requests that this credential opens."""
    if credential.data_policy is not None:
        return DataPolicy(credential.data_policy, "operator")
    policy, _, _ = stated(provider, region)
    if policy == UNKNOWN or not _is_own(region, credential.base_url):
        return DataPolicy(UNKNOWN, "nobody")
    return DataPolicy(policy, "provider")


def stated(provider: Provider, region: Region) -> tuple[str, str, str]:
    """Return what a provider states of one of its regions, from which page, and the day that was read."""
    if region.data_policy is not None:
        return region.data_policy, region.data_policy_source, region.data_policy_date
    return provider.data_policy, provider.data_policy_source, provider.data_policy_date


def _is_own(region: Region, base_url: str | None) -> bool:
    """Say whether an address is on a host of the region; ``{WorkspaceId}`` in it stands for one label."""
    if base_url is None:
        return True
    pattern = re.sub(r"\\{\w+\\}", "[a-z0-9-]+", re.escape(urlsplit(region.base_url).hostname or ""))
    return re.fullmatch(pattern, urlsplit(base_url).hostname or "") is not None
