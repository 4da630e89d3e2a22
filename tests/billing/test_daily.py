"""Daily lines: which lot paid which fee, and where a request is counted."""

import pytest

from tokenhub.billing.daily import DayBook, FeeKind, Group, split

MODEL, SERVICE = FeeKind.MODEL, FeeKind.SERVICE
GROUP = Group(1, "key_1", "gpt-4o", "openai")


@pytest.mark.parametrize(
    ("fees", "paid", "lines"),
    [
        ((100, 3), [(7, 103)], [(MODEL, 7, 100), (SERVICE, 7, 3)]),
        ((100, 0), [(7, 100)], [(MODEL, 7, 100)]),
        ((0, 0), [], [(MODEL, 0, 0)]),
        ((100, 3), [(7, 40), (8, 63)], [(MODEL, 7, 40), (MODEL, 8, 60), (SERVICE, 8, 3)]),
        ((100, 3), [(7, 100), (8, 3)], [(MODEL, 7, 100), (SERVICE, 8, 3)]),
        ((100, 3), [(7, 101), (8, 2)], [(MODEL, 7, 100), (SERVICE, 7, 1), (SERVICE, 8, 2)]),
        ((100, 3), [(9, 1), (7, 1), (8, 101)], [(MODEL, 9, 1), (MODEL, 7, 1), (MODEL, 8, 98), (SERVICE, 8, 3)]),
        ((0, 3), [(7, 3)], [(MODEL, 7, 0), (SERVICE, 7, 3)]),
        ((100, 3), [], [(MODEL, 0, 100), (SERVICE, 0, 3)]),
    ],
)
def test_lots_pay_the_model_fee_first_in_their_order(fees, paid, lines):
    assert list(split(*fees, paid)) == lines


def test_each_request_counts_once_on_the_first_lots_model_fee():
    book = DayBook(0)
    book.add(GROUP, 100, 3, [(8, 40), (7, 63)], shortfall=5)
    book.add(GROUP, 100, 3, [(7, 103)], requests=1)
    book.add(GROUP, 0, 0, [(0, 0)], requests=4)
    lines = [(line.kind, line.lot_id, line.amount_nano, line.requests, line.shortfall_nano) for line in book.lines()]
    assert lines == [
        ("model_fee", 0, 0, 4, 0),
        ("model_fee", 7, 160, 1, 0),
        ("model_fee", 8, 40, 1, 5),
        ("service_fee", 7, 6, 0, 0),
    ]
