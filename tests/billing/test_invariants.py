"""Each statement of the ledger's invariants is one that a wrong row breaks, and only that one."""

from dataclasses import replace

import pytest

from tokenhub.billing.holds import End
from tokenhub.billing.invariants import AccountSums, HoldSums, KeySums, LotSums, RequestSums, Seen, check
from tokenhub.billing.payment_invariants import DisputeSums

LOT = LotSums(
    id=5, account_id=1, granted=1000, available=350, held=300, frozen=40, spent=200, expired=70, returned=30,
    repaid=10, entries=890, holds=300, charges=200,
)  # fmt: skip
ACCOUNT = AccountSums(
    id=1, available=350, held=300, debt=50, open_holds=2, next_expiry_ms=7, lots_available=400, lots_held=300,
    holds=300, holds_count=2, first_expiry_ms=7, debt_entries=-50,
)  # fmt: skip
KEY = KeySums(id="key_1", period_held=300, holds=300)
HOLD = HoldSums(request_id="req_1", amount=100, parts=100, ended=False)
DISPUTE = DisputeSums(id="dp_1", taken=100, entries=-100)
REQUEST = RequestSums("req_2", End.SETTLED, held=100, model_fee=60, service_fee=2, charged=62, paid=62)


def test_rows_that_agree_violate_nothing():
    assert check([LOT, ACCOUNT, KEY, HOLD, DISPUTE, REQUEST]) == []


@pytest.mark.parametrize(
    ("row", "changes", "broken"),
    [
        (LOT, {"available": 351}, ["I2"]),
        (LOT, {"frozen": 41}, ["I2"]),
        (LOT, {"repaid": 11, "available": 349}, ["I2"]),
        (LOT, {"entries": 891}, ["I2"]),
        (LOT, {"charges": 199}, ["I2"]),
        (LOT, {"holds": 299}, ["I1"]),
        (LOT, {"available": -100, "returned": 480, "entries": 440}, ["I1"]),
        (LOT, {"frozen": -60, "returned": 130, "entries": 790}, ["I1"]),
        (ACCOUNT, {"available": 349}, ["I1"]),
        (ACCOUNT, {"debt": 51, "available": 349}, ["I2"]),
        (ACCOUNT, {"held": 299}, ["I1", "I1"]),
        (ACCOUNT, {"open_holds": 1}, ["I1"]),
        (ACCOUNT, {"next_expiry_ms": None}, ["I1"]),
        (KEY, {"period_held": 0}, ["I1"]),
        (HOLD, {"parts": 99}, ["I4"]),
        (HOLD, {"ended": True}, ["I3"]),
        (DISPUTE, {"entries": 0}, ["I10"]),
        (REQUEST, {"charged": 63, "paid": 63}, ["I4"]),
        (REQUEST, {"paid": 61}, ["I4"]),
        (REQUEST, {"held": 61}, ["I4"]),
        (REQUEST, {"end": End.RELEASED}, ["I5"]),
        (REQUEST, {"seen": Seen.ERROR}, ["I5"]),
        (
            REQUEST,
            {"end": End.RELEASED, "model_fee": 0, "service_fee": 0, "charged": 0, "paid": 0, "seen": Seen.END},
            ["I6"],
        ),
    ],
)
def test_wrong_row_breaks_its_invariant(row, changes, broken):
    assert [found.invariant for found in check([replace(row, **changes)])] == broken


def test_discrepancy_names_the_row_and_both_amounts():
    (found,) = check([replace(LOT, charges=199)])
    assert (found.subject, found.message) == ("lot 5", "spent and its charges differ: 200 and 199")
