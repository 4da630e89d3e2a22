"""The rule book of holds: what each operation does to the rows of its batch, in order of arrival.

A rule checks first and changes afterwards, so an operation that is refused, or that raises,
leaves the rows as its neighbours made them. A request that is refused for its balance has
been counted by the rate windows; one that is refused as too many has not.
"""

from collections.abc import Sequence
from dataclasses import replace

from tokenhub.accounts.accounts import AccountStatus, KeyStatus
from tokenhub.accounts.limits import RateState, RateWindow
from tokenhub.billing import lots
from tokenhub.billing.batch import AccountState, Batch, Ending, HoldState, KeyState
from tokenhub.billing.holds import (
    End,
    Ended,
    Operation,
    Outcome,
    Place,
    Placed,
    Refusal,
    Refused,
    RequestRecord,
    Settle,
)
from tokenhub.billing.journal import expiry_entry, repayment_entries, repayment_ref
from tokenhub.billing.lots import LotState, Part
from tokenhub.billing.periods import counted_from_ms
from tokenhub.money import ATTO_PER_NANO, NANO_PER_USD, ceil_div

BUSY_RETRY_S = 5
"""Retry-After of a refusal that an account's own open requests cause: when one of them ends nobody knows."""

MAX_SHORTFALL_NANO = 100 * NANO_PER_USD
"""What a reply is said to cost above its hold and this is a provider's nonsense: more would not fit the sums of many."""

ROUNDING_NANO = 2
"""Added to a lowered hold: the model fee and, on the rounded model fee, the service fee are each rounded
up once more than in ``minimum_nano``; as long as the service fee is at most 100 %, two cover both."""


def decide(batch: Batch, operations: Sequence[Operation]) -> list[Outcome]:
    """Decide each operation on the batch's rows and return its outcome."""
    return [_decide_one(batch, operation) for operation in operations]


def _decide_one(batch: Batch, operation: Operation) -> Outcome:
    if isinstance(operation, Place):
        return _place(batch, operation)
    ended = batch.ended.get(operation.request_id)
    if ended is not None:
        return replace(ended, first=False)
    if isinstance(operation, Settle):
        return _settle(batch, operation)
    return _release(batch, operation.request_id, operation.record)


# Place


def _place(batch: Batch, place: Place) -> Outcome:
    if place.request_id in batch.ended:
        return Refused(Refusal.ENDED)
    key = batch.keys.get(place.key_id)
    if key is None:
        return Refused(Refusal.KEY_INVALID)
    if key.account_id != place.account_id:
        return Refused(Refusal.STALE)
    account = batch.accounts[key.account_id]
    hold = batch.holds.get(place.request_id)
    if hold is not None:
        return _placed(batch, place, hold.amount)
    refusal = _stranger(batch, place, account, key)
    if refusal is not None:
        return Refused(refusal)
    if account.next_expiry_ms is not None and account.next_expiry_ms <= batch.now_ms:
        expire_due(batch, account)
    return _over_limits(batch, place, account, key) or _set_aside(batch, place, account, key)


def _stranger(batch: Batch, place: Place, account: AccountState, key: KeyState) -> Refusal | None:
    """Refuse a plan made from older rows, and a key or account that may not call."""
    planned = place.versions
    if (
        planned.key != key.version
        or planned.account != account.version
        or planned.plan != batch.plan_versions[account.plan_id]
        or planned.installation != batch.installation_version
        or planned.catalog != batch.catalog_version
    ):
        return Refusal.STALE
    if key.status is not KeyStatus.ACTIVE or (key.expires_at_ms is not None and key.expires_at_ms <= batch.now_ms):
        return Refusal.KEY_INVALID
    if account.status is not AccountStatus.ACTIVE:
        return Refusal.ACCOUNT_DISABLED
    return None


def expire_due(batch: Batch, account: AccountState) -> None:
    """Take what is left in the account's expired lots out of its balance; each loss is an entry."""
    for lot in account.lots:
        if lot.expires_at_ms <= batch.now_ms and lot.available:
            lost = lots.expire(lot)
            account.available -= lost
            batch.entries.append(expiry_entry(account.id, lot.id, lost, lot.expired, batch.now_ms))
    account.next_expiry_ms = lots.next_expiry_ms(account.lots)
    account.touched = True


def _over_limits(batch: Batch, place: Place, account: AccountState, key: KeyState) -> Refused | None:
    """Refuse a request that is one too many; count it in both rate windows otherwise."""
    key_window, account_window = _window(batch, key), _window(batch, account)
    key_wait_s = key_window.wait_s(place.key_rpm)
    account_wait_s = account_window.wait_s(place.account_rpm)
    if key_wait_s or account_wait_s:
        scope = "key" if key_wait_s >= account_wait_s else "account"
        return _refused(batch, place, Refusal.RATE_LIMITED, max(key_wait_s, account_wait_s), scope=scope)
    if account.open_holds >= place.concurrency:
        return _refused(batch, place, Refusal.TOO_MANY_CONCURRENT, BUSY_RETRY_S, scope="account")
    key_window.count()
    account_window.count()
    key.touched = account.touched = True
    return None


def _set_aside(batch: Batch, place: Place, account: AccountState, key: KeyState) -> Outcome:
    """Take the hold's amount out of the account's lots, if the balance and the key's spend limit cover it."""
    counter = _counter(batch, key)
    _enter_period(counter, batch.now_ms)
    balance = max(account.available, 0)
    room = balance
    if counter.spend_limit is not None:
        room = max(counter.spend_limit - counter.period_spent - counter.period_held, 0)
        if room < place.minimum_nano:
            wait_s = BUSY_RETRY_S if room + counter.period_held >= place.minimum_nano else None
            return _refused(batch, place, Refusal.KEY_LIMIT, wait_s, available=room)
    if balance < place.minimum_nano:
        in_flight = account.available + account.held >= place.minimum_nano
        reason, wait_s = (Refusal.IN_FLIGHT, BUSY_RETRY_S) if in_flight else (Refusal.INSUFFICIENT, None)
        return _refused(batch, place, reason, wait_s, available=balance)
    amount = _amount(place, min(balance, room))
    _open_hold(batch, place, amount, account, counter)
    return _placed(batch, place, amount)


def _open_hold(batch: Batch, place: Place, amount: int, account: AccountState, counter: KeyState) -> None:
    parts = lots.draw(account.lots, amount)
    account.available -= amount
    account.held += amount
    account.open_holds += 1
    if amount:
        account.next_expiry_ms = lots.next_expiry_ms(account.lots)
    counter.period_held += amount
    counter.touched = True
    batch.holds[place.request_id] = HoldState(
        place.request_id,
        account.id,
        place.key_id,
        amount,
        parts,
        counter.period_start_ms,
        batch.now_ms,
        place,
    )


def _amount(place: Place, room: int) -> int:
    """Return what is held: all that is wanted, or as much more than the minimum as whole tokens of it need."""
    if room >= place.wanted_nano:
        return place.wanted_nano
    tokens = _extra_tokens(place, room)
    return min(room, place.minimum_nano + ceil_div(tokens * place.output_token_atto, ATTO_PER_NANO) + ROUNDING_NANO)


def _output_limit(place: Place, amount: int) -> int | None:
    """Return the output limit that a hold of this amount covers; None when it covers all that is wanted."""
    if amount >= place.wanted_nano:
        return None
    return min(place.output_wanted, place.output_minimum + _extra_tokens(place, amount))


def _extra_tokens(place: Place, amount: int) -> int:
    """Return how many tokens above ``output_minimum`` an amount covers."""
    spare = max(amount - place.minimum_nano - ROUNDING_NANO, 0)
    return spare * ATTO_PER_NANO // place.output_token_atto if place.output_token_atto else 0


def _counter(batch: Batch, key: KeyState) -> KeyState:
    """Return the key whose row counts what a key spends and holds: the newest of those it was rotated to, or itself."""
    while key.replaced_by is not None:
        key = batch.keys[key.replaced_by]
    return key


def _enter_period(counter: KeyState, now_ms: int) -> None:
    """Start the spend period anew when a later one has begun."""
    start_ms = counted_from_ms(counter.spend_period, counter.period_start_ms, now_ms)
    if start_ms != counter.period_start_ms:
        counter.period_start_ms, counter.period_spent, counter.period_held = start_ms, 0, 0
        counter.touched = True


def _window(batch: Batch, row: AccountState | KeyState) -> RateWindow:
    """Return the row's rate window, read from its blob once a batch."""
    if row.window is None:
        row.window = RateWindow.load(row.rate_blob, batch.window_tag, batch.now_s)
    return row.window


def _placed(batch: Batch, place: Place, amount: int) -> Placed:
    key_rate, account_rate = _rates(batch, place)
    return Placed(amount, _output_limit(place, amount), key_rate, account_rate)


def _refused(
    batch: Batch, place: Place, reason: Refusal, retry_after_s: int | None, *, available: int = 0, scope: str = ""
) -> Refused:
    """Return a refusal of a known caller, with what the headers and the body of its answer say."""
    key_rate, account_rate = _rates(batch, place)
    required = place.minimum_nano if reason in _FOR_MONEY else 0
    return Refused(reason, retry_after_s, required, available, scope, key_rate, account_rate)


_FOR_MONEY = {Refusal.KEY_LIMIT, Refusal.INSUFFICIENT, Refusal.IN_FLIGHT}


def _rates(batch: Batch, place: Place) -> tuple[RateState, RateState]:
    """Return how a known caller's two rate windows stand, the key's and the account's: every answer's headers say so."""
    key = batch.keys[place.key_id]
    account = batch.accounts[key.account_id]
    return _window(batch, key).state(place.key_rpm), _window(batch, account).state(place.account_rpm)


# Settle and release


def _settle(batch: Batch, settle: Settle) -> Ended:
    if settle.model_fee_nano < 0 or settle.service_fee_nano < 0:
        raise ValueError(f"negative fee for {settle.request_id}")
    hold = batch.holds.get(settle.request_id)
    if hold is None:
        return _release(batch, settle.request_id, settle.record)
    model_fee = min(settle.model_fee_nano, hold.amount)
    service_fee = min(settle.service_fee_nano, hold.amount - model_fee)
    shortfall = min(settle.model_fee_nano + settle.service_fee_nano - model_fee - service_fee, MAX_SHORTFALL_NANO)
    paid = _close_hold(batch, hold, model_fee + service_fee)
    ending = Ending(
        hold.request_id,
        hold.account_id,
        hold.key_id,
        End.SETTLED,
        hold.amount,
        settle.record,
        model_fee,
        service_fee,
        shortfall,
        paid,
        settle.pin,
    )
    return _write_end(batch, ending)


def _release(batch: Batch, request_id: str, record: RequestRecord | None) -> Ended:
    """Give a hold back; of an unknown request the end alone is written, so that a hold arriving later is refused."""
    hold = batch.holds.get(request_id)
    if hold is not None:
        _close_hold(batch, hold, 0)
    return _write_end(batch, _released(batch, request_id, hold, record))


def _close_hold(batch: Batch, hold: HoldState, charged: int) -> tuple[Part, ...]:
    """Charge an open hold's lots, give back what is left, and return what each lot paid.

    What is left in a lot that has expired meanwhile is lost; a disabled account, or a key
    revoked since, changes nothing.
    """
    account, counter = batch.accounts[hold.account_id], _counter(batch, batch.keys[hold.key_id])
    paid, left = [], charged
    for lot_id, part in hold.parts:
        spent = min(part, left)
        left -= spent
        _close_part(batch, account, batch.lots[lot_id], hold.request_id, part, spent)
        if spent:
            paid.append((lot_id, spent))
    account.held -= hold.amount
    account.open_holds -= 1
    if hold.period_start_ms == counter.period_start_ms:
        counter.period_held -= hold.amount
        counter.period_spent += charged
    counter.touched = account.touched = True
    del batch.holds[hold.request_id]
    batch.closed.append(hold)
    return tuple(paid)


def _close_part(batch: Batch, account: AccountState, lot: LotState, request_id: str, part: int, spent: int) -> None:
    """Charge a part of a hold; what is left repays what the account owes, before it can be drawn or expires."""
    owed = min(account.debt, part - spent)
    back = lots.close(lot, part, spent, batch.now_ms, owed)
    if owed:
        account.debt -= owed
        account.available += owed
        ref = repayment_ref(lot.id, request_id)
        batch.entries += repayment_entries(account.id, lot.id, owed, ref, batch.now_ms)
    if back:
        account.available += back
        if lot.expires_at_ms < (account.next_expiry_ms or lots.NEVER_MS):
            account.next_expiry_ms = lot.expires_at_ms
    elif part > spent + owed:
        batch.entries.append(expiry_entry(account.id, lot.id, part - spent - owed, lot.expired, batch.now_ms))


def _released(batch: Batch, request_id: str, hold: HoldState | None, record: RequestRecord | None) -> Ending:
    if hold is not None:
        account_id, key_id, amount, started_at_ms = hold.account_id, hold.key_id, hold.amount, hold.placed_at_ms
    elif record is not None:
        account_id, key_id, amount, started_at_ms = record.account_id, record.key_id, 0, record.started_at_ms
    else:
        account_id, key_id, amount, started_at_ms = 0, "", 0, batch.now_ms
    record = record or RequestRecord(account_id, key_id, started_at_ms, capability="", model="", status=0)
    return Ending(request_id, account_id, key_id, End.RELEASED, amount, record)


def _write_end(batch: Batch, ending: Ending) -> Ended:
    """Write an end down and return it; whoever ends the request again is told the same."""
    charged = ending.model_fee + ending.service_fee
    ended = Ended(ending.end, charged, ending.model_fee, ending.service_fee, first=True)
    batch.endings.append(ending)
    batch.ended[ending.request_id] = ended
    return ended
