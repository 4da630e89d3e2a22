"""Who calls: accounts, plans, keys, and the caller they form for one request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenhub.routing.boundaries import Chain


class AccountStatus(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"


class KeyStatus(StrEnum):
    ACTIVE = "active"
    REVOKED = "revoked"


class SpendPeriod(StrEnum):
    """The UTC period in which a key's spend limit counts; ``TOTAL`` never starts anew."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account bought: fee, limits, and names of its own for models."""

    id: str
    version: int
    fee_bp: int
    """Service fee in basis points of the model fee; Starter 300 = 3 %."""
    key_rpm: int
    account_rpm: int
    concurrency: int
    model_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Plan model name, such as ``starter/fast``, to an ordered list of model or provider/model names."""
    support: str = ""
    sla: str = ""
    compliance: str = ""
    """What it promises of where and by whom requests are served: for people; binding is what is set beside it."""


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    name: str
    version: int
    status: AccountStatus
    plan: str
    email: str | None = None
    fee_bp: int | None = None
    """An agreement of its own; None: the plan's."""
    key_rpm: int | None = None
    account_rpm: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored: its digest, never itself."""

    id: str
    account_id: int
    version: int
    name: str
    prefix: str
    status: KeyStatus
    expires_at_ms: int | None = None
    rpm: int | None = None
    spend_limit_nano: int | None = None
    spend_period: SpendPeriod = SpendPeriod.TOTAL
    models: tuple[str, ...] | None = None
    """Names this key may call (any of the three forms); None: all."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of all a request's plan was made from; the write compares them."""

    installation: int
    catalog: int
    plan: int
    account: int
    key: int


@dataclass(frozen=True, slots=True)
class Caller:
    """Account, key and plan of one request, as read together."""

    key: ApiKey
    account: Account
    plan: Plan
    chain: "Chain" = ()
    """What plan, account and key set about routing; the same object for equal rows, as it keys a cache."""

    @property
    def fee_bp(self) -> int:
        return self.plan.fee_bp if self.account.fee_bp is None else self.account.fee_bp

    @property
    def key_rpm(self) -> int:
        return self.key.rpm or self.account.key_rpm or self.plan.key_rpm

    @property
    def account_rpm(self) -> int:
        return self.account.account_rpm or self.plan.account_rpm

    @property
    def concurrency(self) -> int:
        return self.account.concurrency or self.plan.concurrency
