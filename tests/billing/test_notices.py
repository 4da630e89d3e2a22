"""What a notice says, and when it is tried again."""

import pytest

from tokenhub.billing import notices
from tokenhub.billing.notices import NoticeKind
from tokenhub.billing.recharges import CARD_GONE

FACTS = {
    "balance": "4.99",
    "threshold": "5",
    "topup": "topup_1",
    "refund": "refund_1",
    "dispute": "du_1",
    "amount": "20.00",
    "currency": "usd",
    "status": "needs_response",
    "reason": "the card was declined",
    "card": "visa 4242",
    "recharge": "suspended",
    "frozen": "12.5",
    "credential": "7",
    "provider": "openai",
    "region": "eu",
    "down": "openai/gpt-4o@eu#7",
    "recovered": "google/gemini@global#8",
    "still": "zhipu/glm@cn#9",
}
SAID = {
    NoticeKind.LOW_BALANCE: ("4.99", "5 USD"),
    NoticeKind.CARD_DECLINED: ("the card was declined", "visa 4242", "20.00 USD", "topup_1"),
    NoticeKind.RECHARGE_SUSPENDED: ("the card was declined", "--save-card", "accounts set acme --resume-recharge"),
    NoticeKind.DISPUTE_OPENED: (
        "20.00 USD",
        "needs_response",
        "12.5",
        "du_1",
        "topup_1",
        "accounts set acme --resume-recharge",
    ),
    NoticeKind.REFUND_FAILED: ("20.00 USD", "refund_1", "topup_1"),
    NoticeKind.TOPUP_REVIEW: ("the card was declined", "topup_1"),
    NoticeKind.CREDENTIAL: ("openai", "eu", "the card was declined", "tokenhub credentials rotate 7"),
    NoticeKind.OUTAGE: ("openai/gpt-4o@eu#7", "google/gemini@global#8", "tokenhub status"),
    NoticeKind.RECOVERED: ("google/gemini@global#8", "zhipu/glm@cn#9"),
    NoticeKind.TEST: ("tokenhub notify test",),
}
OF_THE_HOUSE = {NoticeKind.CREDENTIAL, NoticeKind.OUTAGE, NoticeKind.RECOVERED, NoticeKind.TEST}
"""No account is meant."""


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_says_its_facts_and_whose_they_are(kind: NoticeKind) -> None:
    found = notices.words(kind, "acme", FACTS)
    assert found.subject.endswith("(acme)")
    for fact in SAID[kind]:
        assert fact in found.text
    assert ("acme" in found.text) == (kind not in OF_THE_HOUSE)


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        (NoticeKind.RECHARGE_SUSPENDED, FACTS | {"reason": CARD_GONE}),
        (NoticeKind.RECHARGE_SUSPENDED, FACTS | {"card": ""}),
        (NoticeKind.DISPUTE_OPENED, {name: fact for name, fact in FACTS.items() if name != "recharge"}),
    ],
)
def test_a_notice_names_no_resuming_that_would_change_nothing(kind: NoticeKind, facts: dict[str, str]) -> None:
    assert "--resume-recharge" not in notices.words(kind, "acme", facts).text


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_without_its_facts_is_still_told(kind: NoticeKind) -> None:
    found = notices.words(kind, "acme", {})
    assert "(acme)" in found.subject
    assert found.text.strip()


def test_a_kind_that_this_version_does_not_know_is_told_by_its_facts() -> None:
    found = notices.words("from_the_future", "acme", {"topup": "topup_1"})
    assert "acme" in found.text
    assert "topup_1" in found.text


def test_a_subject_is_one_line() -> None:
    assert "\n" not in notices.words("low_balance", "a\r\nBcc: eve@example.com", FACTS).subject


def test_pauses_double_up_to_an_hour() -> None:
    assert [notices.pause_ms(tries) // 1000 for tries in (1, 2, 3, 7, 8, 9, 100)] == [
        30,
        60,
        120,
        1920,
        3600,
        3600,
        3600,
    ]
