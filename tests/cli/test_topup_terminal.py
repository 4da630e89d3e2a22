"""What a person sees of a top-up: the real program on a terminal, beside a fake Stripe, from the link to the credit."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import DEADLINE_S, MAIN, ON_TERMINAL, command, data, run, run_on_terminal, surroundings
from tests.cli.test_qr import modules, real
from tests.fakes.stripe import FakeStripe
from tests.harness import start_gateway, temporary_home
from tokenhub import clock
from tokenhub.operations import accounts, ledger, secrets
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import topups, work
from tokenhub.paths import Home

OWN_SEQUENCES = re.compile(rb"\x1b\[[0-9;]*[mK]")
LINK = re.compile(r"https://checkout\.stripe\.com/c/pay/\S+")
WAITING = b"Waiting for the payment"
OFTEN = "from tokenhub.cli import topup; topup._POLL_S = 0.1; "
"""Said before the program: it looks for the payment more often than every two seconds."""


class Till:
    """A home with the account acme, on a fake Stripe."""

    def __init__(self, folder: Path, stripe: FakeStripe) -> None:
        self.stripe = stripe
        self.home = Home(folder / "home", explicit=True)
        with Hub.init(self.home, {"stripe.api_base": stripe.url}) as hub:
            secrets.set(hub, "stripe.secret_key", stripe.secret_key)
            self.account = accounts.create(hub, "acme").account.id
        self.more = {"TOKENHUB_STRIPE_API_BASE": stripe.url}

    def hub(self) -> Hub:
        return Hub.open(self.home, {"stripe.api_base": self.stripe.url})

    def pay(self, **how: object) -> None:
        """Let the person pay the newest link."""
        self.stripe.pay(self.stripe.of("checkout.session")[0], **how)

    def buy(self) -> None:
        """Pay 20 USD, and have them credited."""
        with self.hub() as hub:
            topups.create(hub, self.account, 2000, "usd", ())
            self.pay()
            work.tick(hub, clock.now_ms() + 15_000)

    def on_terminal(
        self, *arguments: str, then: object = b"", more: dict[str, str] | None = None, main: str = OFTEN + ON_TERMINAL
    ) -> tuple[int, str]:
        """Run a top-up on a terminal; when it waits, something happens. Return exit code and all that was shown."""
        code, shown = run_on_terminal(
            self.home.path,
            ("topup", *arguments),
            [(WAITING, then)],
            main=main,
            more={**self.more, **(more or {})},  # type: ignore[list-item]
        )
        return code, OWN_SEQUENCES.sub(b"", shown).replace(b"\r\n", b"\n").decode()

    def credit(self) -> int:
        with self.hub() as hub:
            assert ledger.verify(hub) == []
            return accounts.state(hub, self.account).available_nano


@pytest.fixture
def till(tmp_path: Path, stripe: FakeStripe) -> Iterator[Till]:
    return Till(tmp_path, stripe)


def test_a_person_sees_the_link_a_code_for_the_phone_and_when_the_credit_is_there(till: Till) -> None:
    code, shown = till.on_terminal("20", then=till.pay, main=ON_TERMINAL)
    assert code == 0
    lines = shown.splitlines()
    assert lines[0] == "Test mode: no real money moves; Stripe's test cards pay, such as 4242 4242 4242 4242."
    assert lines[1] == "acme pays 20.00 USD for 20 USD of credit, valid for 12 months."
    assert re.fullmatch(
        r"Pay by card, Alipay or WeChat Pay on Stripe's page until \d{4}-\d\d-\d\d \d\d:\d\d UTC:", lines[2]
    )
    assert LINK.fullmatch(lines[3])
    picture = [line for line in lines if set(line) & set("▀▄█") and not set(line) - set(" ▀▄█")]
    assert modules(picture, drawn_is_dark=False)[: len(real(lines[3]))] == real(lines[3])
    assert re.search(
        r"\r[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] 0:0\d  Waiting for the payment \(Ctrl-C stops the waiting, not the payment\)\r", shown
    )
    assert re.fullmatch(
        r"Credited: acme has 20 USD more \(lot 1, expires \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\), 20 USD in all\.",
        shown.splitlines()[-1].rpartition("\r")[2],
    )
    assert till.credit() == 20 * 10**9


def test_yuan_show_their_rate_before_anybody_pays(till: Till) -> None:
    code, shown = till.on_terminal("142", "--currency", "cny", "--no-qr", then=till.pay)
    assert code == 0
    assert "acme pays 142.00 CNY for 20 USD of credit (7.1 CNY for 1 USD), valid for 12 months.\n" in shown
    assert not set(shown) & set("▀▄█")
    assert till.credit() == 20 * 10**9


def test_a_terminal_that_is_too_small_is_told_what_the_code_needs(till: Till) -> None:
    _, shown = till.on_terminal("20", then=till.pay, more={"COLUMNS": "60", "LINES": "24"})
    assert not set(shown) & set("▀▄█")
    assert re.search(r"^\(For a QR code of this link, make the terminal \d+ x \d+ or larger\.\)$", shown, re.M)
    assert LINK.search(shown)
    assert all(len(line) < 60 for line in re.findall(r"\r([^\r\n]*Waiting[^\r\n]*)", shown))


def test_with_a_public_address_the_code_is_short_and_the_printed_link_is_stripes(till: Till) -> None:
    public = {"TOKENHUB_SERVER_PUBLIC_URL": "https://hub.example.com", "COLUMNS": "80", "LINES": "24"}
    _, shown = till.on_terminal("20", then=till.pay, more=public)
    picture = [line for line in shown.splitlines() if set(line) & set("▀▄█") and not set(line) - set(" ▀▄█")]
    assert (len(picture[0]), len(picture)) == (35, 18)
    assert LINK.search(shown)


def test_ctrl_c_stops_the_waiting_and_loses_nothing(till: Till) -> None:
    code, shown = till.on_terminal("20", "--no-qr", then=b"\x03")
    assert code == 2
    said = re.search(
        r"The link stays open, but no gateway runs, and only one that does credits its payment: tokenhub serve\. "
        r"Look: tokenhub topups show (topup_\w+)",
        shown,
    )
    assert said is not None
    assert till.credit() == 0
    till.pay()
    with till.hub() as hub:
        work.tick(hub, clock.now_ms() + 15_000)
    assert till.credit() == 20 * 10**9
    (topup,) = data(till.home.path, "topups", "list")
    assert (topup["id"], topup["state"], topup["lot"]) == (said[1], "paid", 1)


def test_a_running_gateway_credits_within_fifteen_seconds_what_nobody_waits_for(
    tmp_path: Path, stripe: FakeStripe
) -> None:
    gateway = start_gateway(temporary_home(tmp_path), {"stripe.api_base": stripe.url}, credit_nano=0)
    try:
        home, more = gateway.hub.home.path, {"TOKENHUB_STRIPE_API_BASE": stripe.url}
        assert run(home, "config", "set", "stripe.secret_key", stdin=stripe.secret_key, more=more).code == 0
        code, shown = run_on_terminal(home, ("topup", "20", "--no-qr"), [(WAITING, b"\x03")], more=more)
        assert code == 2
        assert b"The link stays open, and the gateway credits its payment. Look: " in shown
        stripe.pay(stripe.of("checkout.session")[0])
        paid_s = clock.monotonic_s()
        while gateway.balance() == 0:
            assert clock.monotonic_s() < paid_s + 15, data(home, "topups", "list")
            time.sleep(0.1)
        assert gateway.balance() == 20 * 10**9
        assert run(home, "ledger", "verify").code == 0
    finally:
        gateway.stop()


def test_real_money_is_announced_in_red(tmp_path: Path) -> None:
    with FakeStripe.start(livemode=True) as stripe:
        till = Till(tmp_path, stripe)
        code, shown = run_on_terminal(till.home.path, ("topup", "20", "--no-wait", "--no-qr"), more=till.more)
        assert code == 0
        assert b"\x1b[1;97;41m LIVE MODE: this is real money. \x1b[0m" in shown
        assert b"Test mode" not in shown


def test_a_top_up_that_cannot_be_credited_ends_with_exit_code_1(till: Till) -> None:
    code, shown = till.on_terminal(
        "20", "--no-qr", then=lambda: till.stripe.expire(till.stripe.of("checkout.session")[0])
    )
    assert code == 1
    assert re.search(r"error: Top-up topup_\w+ is expired; nothing was credited\.", shown)
    assert till.credit() == 0


def test_a_payment_of_less_credits_that_and_says_so(till: Till) -> None:
    code, shown = till.on_terminal("20", "--no-qr", then=lambda: till.pay(amount=1500))
    assert code == 0
    assert "Credited: acme has 15 USD more (lot 1" in shown
    assert "needs a look: 15.00 of 20.00 USD was paid." in shown
    assert till.credit() == 15 * 10**9


def test_while_stripe_does_not_answer_the_person_is_told_and_the_waiting_goes_on(till: Till) -> None:
    def away_then_paid() -> None:
        till.stripe.fault("drop_before", method="GET", times=3)  # one whole call: the client repeats it twice
        till.pay()

    code, shown = till.on_terminal("20", "--no-qr", then=away_then_paid)
    assert code == 0
    assert "Stripe does not answer; asking again (Ctrl-C stops the waiting, not the payment)" in shown
    assert till.credit() == 20 * 10**9


def test_credit_that_repays_what_is_owed_says_so(till: Till) -> None:
    """Scenario 24: 5 USD went back at Stripe after all but 2 of 20 were spent; then 10 USD are bought."""
    till.buy()
    with till.hub() as hub:
        lot = ledger.balances(hub, till.account).lots[0].id
        with hub.database.write():
            hub.database.execute("UPDATE lots SET available = 2000000000, spent = 18000000000 WHERE id = ?", (lot,))
            hub.database.execute("UPDATE accounts SET available = 2000000000")
        till.stripe.refund_in_dashboard(till.stripe.of("payment_intent")[0], 500)
        work.tick(hub, clock.now_ms())
    assert data(till.home.path, "accounts", "show")["debt_usd"] == "3"
    assert "Available                   -$3.00\n" in run(till.home.path, "accounts", "show").out
    _, shown = till.on_terminal("10", "--no-qr", then=till.pay)
    assert re.search(
        r"Credited: acme has 10 USD more \(lot 2, .*\), 7 USD in all\. 3 USD of it repaid what was owed\.", shown
    )


@pytest.mark.parametrize(("answer", "code", "left_usd"), [(b"y\n", 0, 0), (b"\n", 1, 20)])
def test_a_refund_says_what_goes_back_and_asks(till: Till, answer: bytes, code: int, left_usd: int) -> None:
    till.buy()
    (topup,) = data(till.home.path, "topups", "list")
    ended, shown = run_on_terminal(till.home.path, ("refund", topup["id"]), [(b"[y/N]", answer)], more=till.more)
    assert ended == code
    assert f"Send 20.00 USD back for top-up {topup['id']}? acme loses 20 USD of credit. [y/N]".encode() in shown
    assert till.credit() == left_usd * 10**9
    assert till.stripe.effects("/v1/refunds") == (1 if code == 0 else 0)


def test_a_refund_without_stripes_answer_is_told_as_open_and_sent_once(till: Till) -> None:
    till.buy()
    (topup,) = data(till.home.path, "topups", "list")
    till.stripe.fault("drop_after", method="POST", path="/v1/refunds", times=3)
    ended = run(till.home.path, "refund", topup["id"], "--yes", more=till.more)
    assert ended.code == 2
    assert "Stripe's answer did not come." in ended.err
    assert till.credit() == 0
    with till.hub() as hub:
        work.tick(hub, clock.now_ms() + 61_000)
    (refund,) = data(till.home.path, "topups", "show", topup["id"])["refunds"]
    assert refund["state"] == "succeeded"
    assert till.stripe.effects("/v1/refunds") == 1


def test_the_link_alone_is_data(till: Till) -> None:
    ended = run(till.home.path, "topup", "20", "--no-wait", more=till.more)
    assert ended.code == 0
    assert LINK.fullmatch(ended.out.removesuffix("\n"))
    assert "The link stays open, but no gateway runs" in ended.err


def test_json_has_a_line_for_the_link_and_nothing_else_when_nobody_waits(till: Till) -> None:
    ended = run(till.home.path, "topup", "20", "--no-wait", "--json", more=till.more)
    assert (ended.code, ended.err) == (0, "")
    (line,) = ended.out.splitlines()
    told = json.loads(line)
    assert (told["state"], told["amount"], told["currency"], told["credit_usd"]) == ("open", "20.00", "usd", "20")
    assert LINK.fullmatch(told["url"])


def test_json_of_a_top_up_that_is_waited_for_has_a_second_line_for_its_end(till: Till) -> None:
    with subprocess.Popen(
        command("topup", "20", "--json", main=OFTEN + MAIN), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=surroundings(till.home.path, till.more),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        link = json.loads(process.stdout.readline())
        till.pay()
        rest, said = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, said) == (0, "")
    (line,) = rest.splitlines()
    ended = json.loads(line)
    assert (link["state"], ended["state"], ended["lot"], ended["id"]) == ("open", "paid", 1, link["id"])


def test_an_interrupt_without_a_terminal_ends_with_exit_code_2(till: Till) -> None:
    with subprocess.Popen(
        command("topup", "20"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=surroundings(till.home.path, till.more),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert LINK.match(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith("The link stays open")


def test_a_method_that_stripe_does_not_offer_leaves_nothing_open(till: Till) -> None:
    till.stripe.methods_offered = ["card"]
    ended = run(till.home.path, "topup", "142", "--currency", "cny", "--method", "alipay", more=till.more)
    assert (ended.code, ended.out) == (1, "")
    assert "alipay" in ended.err
    assert [session["status"] for session in till.stripe.of("checkout.session")] == ["expired"]
    assert till.credit() == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("20", "--currency", "jpy"),
        ("1e3",),
        ("-5",),
        ("0",),
        ("0.005",),
        ("0.49",),
        ("1000000",),
        ("9.99", "--currency", "cny"),
        ("20", "--method", "bitcoin"),
    ],
    ids=" ".join,
)
def test_amounts_and_words_that_cannot_be_are_refused_before_stripe_is_asked(
    till: Till, arguments: tuple[str, ...]
) -> None:
    before = till.stripe.posts("*")
    ended = run(till.home.path, "topup", *arguments, "--no-wait", more=till.more)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert till.stripe.posts("*") == before


def test_without_a_key_a_top_up_says_how_to_set_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", explicit=True)
    with Hub.init(home) as hub:
        accounts.create(hub, "acme")
    ended = run(home.path, "topup", "20")
    assert ended.code == 1
    assert ended.err.startswith("error: Stripe is not set up.")
    assert "tokenhub config set stripe.secret_key" in ended.err
