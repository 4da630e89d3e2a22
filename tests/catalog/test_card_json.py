"""A price card survives as JSON, whatever it has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.catalog import card_json, load
from tokenhub.catalog.prices import PriceCard, Rates

prices = st.integers(0, 2**80)
rates = st.builds(Rates, *[prices] * 9)
cards = st.builds(
    PriceCard,
    rates,
    st.lists(st.tuples(st.integers(1, 10**7), rates), max_size=2).map(tuple),
    st.dictionaries(st.sampled_from(["image", "second 720P", "video", "character"]), prices, max_size=3),
)


@given(cards)
def test_a_card_comes_back_as_it_was(card: PriceCard) -> None:
    back = card_json.load(card_json.dump(card))
    assert (back.rates, back.tiers, dict(back.units)) == (card.rates, card.tiers, dict(card.units))
    assert back.version == card.version


def test_every_card_of_the_catalogue_does() -> None:
    for endpoints in load.load(()).endpoints.values():
        for endpoint in endpoints:
            card = endpoint.prices.at(1_790_000_000_000)
            assert card_json.load(card_json.dump(card)).version == card.version


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"rates": {}}'])
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        card_json.load(text)
