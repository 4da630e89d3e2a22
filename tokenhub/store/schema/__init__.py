"""Every table, index and constraint; no methods. One file for each subject:

    accounts     who calls: installation, plans, accounts, keys
    ledger       credit and charges: lots, journal, holds, requests, closed days
    payments     purchases through Stripe, refunds, disputes, recharges
    upstreams    credentials, the operator's catalogue, preferences, circuits, sessions
    jobs         work that goes on at a provider
    refusals     requests that were refused before anything was held
    household    processes, secrets, notices

Amounts are nano-USD, times are milliseconds since 1970 UTC unless a name says otherwise.
SQLite tables are STRICT, PostgreSQL has the same columns as BIGINT, TEXT and BYTEA. The hot
path (``holds.py``) uses SQL on these tables; everything else uses these classes. Only the
files in ``migrations/`` create tables: a change here comes with the next of them, and a test
compares what they build with these classes.
"""

from tokenhub.store.schema.accounts import AccountRow, InstallationRow, KeyRow, PlanRow
from tokenhub.store.schema.household import LeaseRow, NamedLeaseRow, NoticeRow, SecretRow, SubscriptionRow
from tokenhub.store.schema.jobs import JobRow
from tokenhub.store.schema.ledger import (
    ClosedDayRow,
    DailyLineRow,
    EntryRow,
    HoldLotRow,
    HoldRow,
    LotRow,
    RequestLotRow,
    RequestRow,
)
from tokenhub.store.schema.payments import (
    CustomerRow,
    DisputeRow,
    RechargeRow,
    RefundRow,
    StripeEventRow,
    StripeRow,
    TopupRow,
)
from tokenhub.store.schema.refusals import RefusalRow
from tokenhub.store.schema.rows import proxy as proxy
from tokenhub.store.schema.upstreams import (
    AffinityRow,
    CircuitRow,
    CooldownRow,
    CredentialRow,
    HealthMinuteRow,
    OverrideRow,
    PreferencesRow,
)

TABLES = (
    InstallationRow,
    PlanRow,
    AccountRow,
    KeyRow,
    LotRow,
    EntryRow,
    LeaseRow,
    NamedLeaseRow,
    HoldRow,
    HoldLotRow,
    RequestRow,
    RequestLotRow,
    JobRow,
    RefusalRow,
    CredentialRow,
    OverrideRow,
    CustomerRow,
    RechargeRow,
    TopupRow,
    RefundRow,
    DisputeRow,
    StripeEventRow,
    StripeRow,
    SecretRow,
    NoticeRow,
    ClosedDayRow,
    DailyLineRow,
    PreferencesRow,
    CircuitRow,
    CooldownRow,
    HealthMinuteRow,
    AffinityRow,
    SubscriptionRow,
)
"""In the order in which they can be created."""
