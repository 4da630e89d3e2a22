"""What may be typed as a value, and what must not be taken for one."""

import pytest

from tokenhub.cli import values

ODD_NUMBERS = [
    "",
    " ",
    "1_000",
    " 5 ",
    "5 ",
    "+5",
    "-5",
    "٣",
    "५",
    "５",
    "1e9",
    "1E3",
    "NaN",
    "inf",
    "0x10",
    "05",
    "1,000",
    "5\n",
    "5\x00",
    "1.0.0",
    "½",
    "²",
]


@pytest.mark.parametrize("text", [*ODD_NUMBERS, "1.5", "9999999999999999999"])
def test_t122_what_is_no_plain_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        values.whole()(text)


@pytest.mark.parametrize(
    "text",
    [*ODD_NUMBERS, "0", "0.0", "0.000000000", "0.0000000001", "1e30", "4611686018.427387905", "9" * 30, ".5", "5."],
)
def test_t29_t122_what_is_no_positive_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        values.usd(text)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("1", 10**9),
        ("0.000000001", 1),
        ("12.50", 12_500_000_000),
        ("0.1000000000", 10**8),
        ("4611686018.427387904", 2**62),
    ],
)
def test_an_amount_is_read_exactly(text: str, nano: int) -> None:
    assert values.usd(text) == nano


def test_whole_numbers_keep_within_their_bounds() -> None:
    read = values.whole(1, 64)
    assert (read("1"), read("64")) == (1, 64)
    for text in ("0", "65"):
        with pytest.raises(ValueError, match="from 1 to 64"):
            read(text)


def test_default_is_a_word_of_its_own_only_where_an_option_takes_the_word() -> None:
    assert values.changes(name="default") == {"name": "default"}


def test_default_stands_for_giving_a_value_up() -> None:
    read = values.or_default(values.whole())
    assert values.changes(a=read("5"), b=read("default"), c=None) == {"a": 5, "b": None}


@pytest.mark.parametrize("text", ["", ",", "a,", ",a", "a,,b"])
def test_an_empty_name_in_a_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="empty name"):
        values.names(text)


@pytest.mark.parametrize("text", ["", "a", "=", "a=", "=b"])
def test_half_a_pair_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=A,B"):
        values.pair(text)


def test_lists_and_pairs_are_read() -> None:
    assert values.names("a, b/c@d") == ("a", "b/c@d")
    assert values.pair("fast=a,b=c") == ("fast", "a,b=c")


def test_a_word_must_be_one_of_those_known() -> None:
    read = values.one_of("day", "week")
    assert read("day") == "day"
    for text in ("Day", "da", ""):
        with pytest.raises(ValueError, match="none of day, week"):
            read(text)
