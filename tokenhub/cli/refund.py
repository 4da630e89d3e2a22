"""``tokenhub refund``: the unused part of a top-up, back to its payer."""

from typing import Annotated, Any, Final

import typer

from tokenhub import money
from tokenhub.billing import credits
from tokenhub.cli import topups, values
from tokenhub.cli.context import FAILED, Door, Yes, command, verb

app = verb("refund")

UNKNOWN: Final = 2
"""Exit code: Stripe's answer did not come; the gateway asks again."""

_SAID: Final = {
    "requested": "Stripe's answer did not come. The credit is set aside, and the gateway asks again; nothing is sent twice.",
    "pending": "Stripe has it, and sends the money; that can take days.",
    "succeeded": "Stripe has sent it; banks take some days to show it.",
}


@command(
    app,
    "refund",
    examples=["tokenhub refund topup_019a", "tokenhub refund topup_019a --amount 5 --yes --json"],
)
def refund(
    door: Door,
    topup: Annotated[
        str,
        typer.Argument(
            metavar="TOPUP_ID", help="The top-up's id in 'tokenhub topups list', or an unmistakable start of it."
        ),
    ],
    amount: Annotated[
        Any,
        typer.Option(
            "--amount",
            metavar="AMOUNT",
            parser=values.minor,
            help="How much of it, in the currency it was paid in. Else all that is unused.",
            show_default=False,
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    """Refund what is unused of a top-up, in the currency it was paid in, within seven days of the payment.

    Exit code 0: Stripe has it. 2: Stripe's answer did not come, and the gateway asks again. 1: refused.
    """
    from tokenhub.observability import log
    from tokenhub.operations import accounts
    from tokenhub.operations.payments import refunds
    from tokenhub.operations.payments import topups as purchases

    found = purchases.get(door.hub, topup)
    account = accounts.state(door.hub, found.account_id).account.name
    offer = refunds.quote(door.hub, found.id, amount)
    price = f"{credits.major(offer.amount_minor, found.currency)} {found.currency.upper()}"
    credit = f"{money.exact(offer.credit_nano)} USD of credit"
    door.confirm(f"Send {price} back for top-up {found.id}? {account} loses {credit}.", yes=yes)
    with log.only("error"):
        made = refunds.request(door.hub, found.id, amount)
    said = _SAID.get(made.state)
    if said is None:
        door.done(
            topups.refund_row(made, found.currency),
            f"Refund {made.id} is {made.state}: {made.reason}. The credit is back with {account}.",
        )
        raise typer.Exit(FAILED)
    price, credit = (
        f"{credits.major(made.amount_minor, found.currency)} {found.currency.upper()}",
        money.exact(made.credit_nano),
    )
    door.done(
        topups.refund_row(made, found.currency),
        f"Refund {made.id}: {price} for {credit} USD of {account}'s credit. {said}",
    )
    if made.state == "requested":
        raise typer.Exit(UNKNOWN)
