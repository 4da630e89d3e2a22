"""Signatures: ours hold, Stripe's hold, and nothing else does."""

import pytest
import stripe
from hypothesis import example, given
from hypothesis import strategies as st

from tokenhub.billing import signatures
from tokenhub.billing.signatures import InvalidSignature

SECRET, OTHER = "whsec_" + "a" * 32, "whsec_" + "b" * 32
BODY = b'{"id": "evt_1"}'
NOW_S = 1_800_000_000


def holds(header: str, body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,), now_s: int = NOW_S) -> bool:
    try:
        signatures.check(secrets, body, header, now_s)
    except InvalidSignature:
        return False
    return True


def stripes(secret: str = SECRET, body: str = BODY.decode(), at_s: int = NOW_S) -> str:
    return str(stripe.WebhookSignature.generate_signature_header(body, secret, at_s))


@given(st.text(), st.text("abcdef0123456789", min_size=8), st.integers(0, 10**11))
def test_what_stripe_signs_holds_and_we_sign_the_same(body: str, secret: str, at_s: int) -> None:
    body = body.encode("utf-8", "replace").decode()
    header = stripes(secret, body, at_s)
    assert header == signatures.sign(secret, body.encode(), at_s)
    assert holds(header, body.encode(), (secret,), at_s)


@given(st.text(st.characters(codec="ascii"), max_size=40))
@example("t=1800000000")
@example("v1=")
@example("t=1800000000,v1=")
@example("t=+1800000000,v1=aa")
def test_what_stripe_would_not_take_is_not_taken(header: str) -> None:
    try:
        stripe.WebhookSignature.verify_header(BODY.decode(), header, SECRET, None)
    except stripe.SignatureVerificationError:
        assert not holds(header)


@pytest.mark.parametrize("age_s", [0, 299, 300, -299, -300])
def test_a_signature_holds_for_five_minutes_on_either_side(age_s: int) -> None:
    assert holds(signatures.sign(SECRET, BODY, NOW_S - age_s))


@pytest.mark.parametrize("age_s", [301, 86_400, -301, -86_400])
def test_t23_an_old_signature_or_one_from_the_future_does_not_hold(age_s: int) -> None:
    assert not holds(signatures.sign(SECRET, BODY, NOW_S - age_s))


def test_t23_a_changed_byte_does_not_hold() -> None:
    header = signatures.sign(SECRET, BODY, NOW_S)
    for place in range(len(BODY)):
        changed = BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :]
        assert not holds(header, changed)
    assert not holds(header, BODY + b"\n")


def test_t23_a_blank_secret_signs_nothing() -> None:
    for blank in ("", " ", "\n"):
        assert not holds(signatures.sign(blank, BODY, NOW_S), secrets=(blank,))
        assert not holds(signatures.sign("", BODY, NOW_S), secrets=(blank, SECRET))
    assert not holds(signatures.sign("", BODY, NOW_S), secrets=())


def test_either_of_two_secrets_holds_while_one_is_replaced() -> None:
    for secret in (SECRET, OTHER):
        assert holds(signatures.sign(secret, BODY, NOW_S), secrets=(SECRET, OTHER))
    assert not holds(signatures.sign(OTHER, BODY, NOW_S), secrets=(SECRET,))


def test_several_signatures_in_one_header_are_all_tried() -> None:
    mine = signatures.signature(SECRET, BODY, NOW_S)
    assert holds(f"t={NOW_S},v1={'0' * 64},v1={mine},v0=abc")
    assert not holds(f"t={NOW_S},v0={mine}")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=",
        "v1=abc",
        f"t={NOW_S}",
        f"t={NOW_S},t={NOW_S},v1=abc",
        "t=now,v1=abc",
        "t=-1,v1=abc",
        f"t={NOW_S}.0,v1=abc",
        "t=" + "9" * 5000 + ",v1=abc",
        f"t={NOW_S},v1=é",
        f"t={NOW_S},v1=\udce9",
        "x" * 5000,
        ",,,===",
    ],
)
def test_a_malformed_header_is_invalid_and_nothing_worse(header: str) -> None:
    assert not holds(header)
