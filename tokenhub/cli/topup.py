"""``tokenhub topup``: buy credit. A link to Stripe's page, its QR code, and word when the credit is there.

The link is data and goes to stdout; all else is for the person who waits. Nothing hangs on
this process: the top-up is kept before Stripe is asked, and the gateway credits it whether
or not anybody watches.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokenhub import clock, money
from tokenhub.billing import credits
from tokenhub.cli import live, qr, render, topups, values
from tokenhub.cli.context import DONE, FAILED, AccountName, Door, command, verb
from tokenhub.errors import InvalidRequest

if TYPE_CHECKING:
    from tokenhub.operations.payments.stripe_api import StripeApi
    from tokenhub.operations.payments.topups import Topup

app = verb("topup")

OPEN: Final = 2
"""Exit code: not paid yet, and still watched."""

CURRENCIES: Final = tuple(credits.DECIMALS)
_WAYS: Final = {"card": "card", "alipay": "Alipay", "wechat_pay": "WeChat Pay"}
_POLL_S: Final = 2.0
_WAITING: Final[Mapping[str, str]] = {
    "new": "Asking Stripe for the payment page (Ctrl-C stops the waiting, nothing else)",
    "open": "Waiting for the payment (Ctrl-C stops the waiting, not the payment)",
    "processing": "Paid; the money is on its way to Stripe (Ctrl-C stops the waiting, not the payment)",
}
_UNREACHED: Final = "Stripe does not answer; asking again (Ctrl-C stops the waiting, not the payment)"


@command(
    app,
    "topup",
    examples=[
        "tokenhub topup 20",
        "tokenhub topup 142 --currency cny --method alipay,wechat_pay --account acme",
        "tokenhub topup 20 --method card --save-card --account acme",
        "tokenhub topup 20 --no-wait --json",
    ],
)
def topup(
    door: Door,
    amount: Annotated[
        Any,
        typer.Argument(metavar="AMOUNT", parser=values.minor, help="How much to pay, such as 20 or 7.50."),
    ],
    currency: Annotated[
        Any,
        typer.Option("--currency", metavar="|".join(CURRENCIES), parser=values.one_of(*CURRENCIES), help="What it is paid in; 20 means 20 of it."),
    ] = "usd",
    method: Annotated[
        Any,
        typer.Option(
            "--method", metavar="A,B", parser=values.names, show_default=False,
            help=f"Only these ways to pay: {', '.join(_WAYS)}. Else all that the Stripe account offers.",
        ),
    ] = None,
    account: AccountName = None,
    save_card: Annotated[bool, typer.Option("--save-card", help="Keep the card at Stripe, for automatic recharges.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the link and end; the gateway watches the payment.")] = False,
    no_qr: Annotated[bool, typer.Option("--no-qr", help="Show no QR code.")] = False,
    invert: Annotated[bool, typer.Option("--invert", help="Draw the QR code for a terminal that writes dark on light.")] = False,
) -> None:  # fmt: skip
    """Buy credit through Stripe: shows a link and its QR code, waits, and says when the credit is there.

    Exit code 0: credited (with --no-wait: the link is there). 2: still open. 1: failed, or expired unpaid.
    With --json each state is a line: first with the link, then how it ended.
    """
    from tokenhub.observability import log
    from tokenhub.operations import accounts
    from tokenhub.operations.payments import connection
    from tokenhub.operations.payments import topups as purchases

    owner = accounts.the_account(door.hub, account)
    purchases.check(door.hub, amount, currency, method or (), save_card=save_card)
    checkout = _Checkout(door, connection.connect(door.hub), owner.name, no_qr=no_qr, invert=invert)
    try:
        with log.only("error"):
            checkout.offer(purchases.create(door.hub, owner.id, amount, currency, method or (), save_card=save_card))
            code = checkout.leave() if no_wait else checkout.watch()
    except InvalidRequest as error:  # Stripe was asked, and does not offer this
        door.complain(error.message)
        code = FAILED
    except KeyboardInterrupt:
        code = checkout.leave() or OPEN
    if code:
        raise typer.Exit(code)


class _Checkout:
    """One top-up on a person's screen, from its link to its end."""

    def __init__(self, door: Door, api: "StripeApi", account: str, *, no_qr: bool, invert: bool) -> None:
        self._door = door
        self._api = api
        self._account = account
        self._no_qr = no_qr
        self._invert = invert
        self._topup: Topup | None = None

    def offer(self, topup: "Topup") -> None:
        """Take a top-up, and show what is paid, what for and where, once Stripe has made a page for it."""
        self._topup = topup
        if topup.url is None:
            return
        if self._door.as_json:
            self._line(topup)
            return
        _banner(topup)
        render.say(_terms(topup, self._account))
        render.say(f"Pay by {_ways(topup)} on Stripe's page{_until(topup)}:")
        render.print_line(render.inert(topup.url))
        for line in [] if self._no_qr else qr.shown(self._short(topup) or topup.url, invert=self._invert):
            render.say(line)

    def _short(self, topup: "Topup") -> str | None:
        """Return an address on this gateway for the QR code, where it can be reached from outside."""
        from tokenhub.operations.payments import links

        return links.short_link(self._door.hub, topup.id)

    def watch(self) -> int:
        """Wait until the top-up ends, tell how, and return the exit code."""
        with live.LiveLine(silent=self._door.as_json) as line:
            awaited = _WAITING.get(self._now.state)
            while awaited:
                line.wait(awaited, _POLL_S)
                awaited = self._look(line)
        return self._tell()

    @property
    def _now(self) -> "Topup":
        assert self._topup is not None
        return self._topup

    def _look(self, line: live.LiveLine) -> str | None:
        """Ask Stripe once. Return what is waited for now; None when that is over."""
        from tokenhub.operations.payments import topups as purchases
        from tokenhub.operations.payments.stripe_api import StripeLimited, StripeUnknown

        before = self._now
        try:
            found = purchases.reconcile(self._door.hub, self._api, before.id)
        except (StripeLimited, StripeUnknown):
            return _UNREACHED
        if before.url is None and found.url is not None and found.state in _WAITING:
            line.clear()
            self.offer(found)
        self._topup = found
        return _WAITING.get(found.state)

    def leave(self) -> int:
        """Say, to somebody who does not wait, what becomes of the top-up; return the exit code."""
        topup = self._topup
        if topup is None:
            self._door.say("Stopped while Stripe was asked. What was begun is kept: tokenhub topups list")
            return OPEN
        if self._door.as_json:
            if topup.url is None:
                self._line(topup)
        else:
            self._door.say(f"{self._goes_on(topup)} Look: tokenhub topups show {topup.id}")
        return DONE if topup.url else OPEN

    def _goes_on(self, topup: "Topup") -> str:
        """Return who sees to a top-up that nobody here waits for: the gateway, if one runs."""
        from tokenhub.operations import gateways

        before, work = (
            ("Stripe has not answered", "asks again")
            if topup.url is None
            else ("The link stays open", "credits its payment")
        )
        if gateways.seen(self._door.hub).runs:
            return f"{before}, and the gateway {work}."
        return f"{before}, but no gateway runs, and only one that does {work}: tokenhub serve."

    def _tell(self) -> int:
        topup = self._now
        credited = topup.lot_id is not None
        if self._door.as_json:
            self._line(topup)
        elif credited:
            self._door.say(self._credited(topup))
        if topup.state == "review":
            self._door.complain(f"Top-up {topup.id} needs a look: {topup.reason}.")
        elif not credited:
            why = f" ({topup.reason})" if topup.reason else ""
            render.complain(f"Top-up {topup.id} is {topup.state}{why}; nothing was credited.")
        return DONE if credited else FAILED

    def _line(self, topup: "Topup") -> None:
        render.print_line(render.as_json(topups.row(topup, self._account), indent=None))

    def _credited(self, topup: "Topup") -> str:
        from tokenhub.operations import accounts, ledger

        lot = ledger.lot(self._door.hub, topup.lot_id or 0)
        available = accounts.state(self._door.hub, topup.account_id).available_nano
        repaid = f" {money.exact(lot.repaid_nano)} USD of it repaid what was owed." if lot.repaid_nano else ""
        ends = "" if lot.expires_at_ms is None else f", {render.expires(clock.iso(lot.expires_at_ms))}"
        return (
            f"Credited: {self._account} has {money.exact(lot.granted_nano)} USD more (lot {lot.id}{ends}), "
            f"{money.exact(available)} USD in all.{repaid}"
        )


def _banner(topup: "Topup") -> None:
    if topup.livemode:
        render.banner("LIVE MODE: this is real money.")
    else:
        render.say("Test mode: no real money moves; Stripe's test cards pay, such as 4242 4242 4242 4242.")


def _terms(topup: "Topup", account: str) -> str:
    currency = topup.currency.upper()
    rate = "" if topup.currency == "usd" else f" ({topups.rate(topup)} {currency} for 1 USD)"
    price = f"{credits.major(topup.amount_minor, topup.currency)} {currency}"
    return f"{account} pays {price} for {money.exact(topup.credit_nano)} USD of credit{rate}, valid for 12 months."


def _ways(topup: "Topup") -> str:
    *others, last = (_WAYS.get(way, way) for way in topup.offered or ("card",))
    return f"{', '.join(others)} or {last}" if others else last


def _until(topup: "Topup") -> str:
    if topup.session_expires_at_ms is None:
        return ""
    return f" until {clock.utc(topup.session_expires_at_ms):%Y-%m-%d %H:%M} UTC"
