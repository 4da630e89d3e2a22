"""What the ledger's tables of steps do not say: roundings of lowered holds, and operations that raise."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenhub.accounts.accounts import AccountStatus, KeyStatus, SpendPeriod, Versions
from tokenhub.billing import rules
from tokenhub.billing.batch import AccountState, Batch, KeyState
from tokenhub.billing.holds import Place, Placed, RequestRecord, Settle
from tokenhub.billing.lots import NEVER_MS, LotState
from tokenhub.money import BASIS_POINTS, ceil_div, fee, nano_from_atto

RECORD = RequestRecord(1, "k", 0, "chat", "m")


def batch(credit: int) -> Batch:
    """One account with one lot and one key, as the store reads them."""
    lot = LotState(1, 1, credit, 0, 0, 0, NEVER_MS, 0)
    account = AccountState(1, 1, AccountStatus.ACTIVE, "starter", credit, 0, 0, None, None, lots=[lot])
    key = KeyState("k", 1, 1, KeyStatus.ACTIVE, None, None, SpendPeriod.TOTAL, 0, 0, 0, None)
    return Batch(
        now_ms=0,
        now_s=0,
        window_tag=b"the boot",
        installation_version=1,
        catalog_version=1,
        plan_versions={"starter": 1},
        accounts={1: account},
        keys={"k": key},
        lots={1: lot},
        holds={},
        ended={},
    )


def place(wanted: int, **fields) -> Place:
    whole = Place(
        request_id="r",
        key_id="k",
        account_id=1,
        versions=Versions(1, 1, 1, 1, 1),
        wanted_nano=wanted,
        minimum_nano=wanted,
        output_token_atto=0,
        output_wanted=0,
        output_minimum=0,
        key_rpm=60,
        account_rpm=600,
        concurrency=50,
        price_version="p1",
    )
    return replace(whole, **fields)


@example(token_atto=1_100_000_000, input_atto=0, fee_bp=6000, tokens=(100, 1000), share=Fraction(3, 1760))
@given(
    token_atto=st.one_of(st.integers(0, 10**11), st.sampled_from([1, 75_000_000, 10**8, 999_999_999])),
    input_atto=st.one_of(st.integers(0, 10**13), st.integers(0, 1000).map(lambda nano: nano * 10**9)),
    fee_bp=st.integers(0, BASIS_POINTS),
    tokens=st.tuples(st.integers(1, 2000), st.integers(0, 50_000)),
    share=st.fractions(0, 1),
)
def test_t3_lowered_output_limit_never_costs_more_than_its_hold(token_atto, input_atto, fee_bp, tokens, share):
    """Model fee and service fee are rounded up one after the other, as when the reply is charged."""
    minimum, wanted = tokens[0], sum(tokens)

    def cost(output: int) -> int:
        model_fee = nano_from_atto(input_atto + output * token_atto)
        return model_fee + fee(model_fee, fee_bp)

    credit = cost(minimum) + int(share * (cost(wanted) - cost(minimum)))
    asked = place(
        cost(wanted),
        minimum_nano=cost(minimum),
        output_token_atto=ceil_div(token_atto * (BASIS_POINTS + fee_bp), BASIS_POINTS),
        output_minimum=minimum,
        output_wanted=wanted,
    )
    (outcome,) = rules.decide(batch(credit), [asked])
    assert isinstance(outcome, Placed)
    assert outcome.amount_nano <= credit
    limit = wanted if outcome.output_limit is None else outcome.output_limit
    assert minimum <= limit <= wanted
    assert cost(limit) <= outcome.amount_nano


def test_hold_of_an_output_that_costs_nothing_is_the_balance_where_that_covers_the_minimum():
    (outcome,) = rules.decide(batch(70), [place(100, minimum_nano=60, output_minimum=5, output_wanted=9)])
    assert isinstance(outcome, Placed)
    assert (outcome.amount_nano, outcome.output_limit) == (60 + rules.ROUNDING_NANO, 5)


def test_operation_that_raises_has_changed_nothing():
    rows = batch(100)
    rules.decide(rows, [place(60)])
    before = (replace(rows.accounts[1]), replace(rows.keys["k"]), replace(rows.lots[1]), dict(rows.holds))
    for fees in ((-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="negative fee"):
            rules.decide(rows, [Settle("r", *fees, RECORD)])
    assert before == (rows.accounts[1], rows.keys["k"], rows.lots[1], rows.holds)
    assert rows.endings == rows.closed == []
