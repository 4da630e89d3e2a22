"""The command tree's first level: every noun, its panel in ``tokenhub --help`` and its one line there.

Only this table is read for ``tokenhub --help``; a noun's module is imported when it is used.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Noun:
    """A first word of a command line."""

    name: str
    panel: str
    summary: str

    @property
    def module(self) -> str:
        return f"tokenhub.cli.{self.name}"


START: Final = "Start"
CUSTOMERS: Final = "Customers"
MONEY: Final = "Money"
UPSTREAMS: Final = "Providers and models"
REPORTS: Final = "What happened"
INSTALLATION: Final = "This installation"

_ALL: Final = (
    Noun("init", START, "Set up a home: settings, database and master key."),
    Noun("serve", START, "Run the gateway."),
    Noun("chat", START, "Ask a model something, through the running gateway."),
    Noun("accounts", CUSTOMERS, "Customers: create, list, change, disable."),
    Noun("keys", CUSTOMERS, "API keys of an account: create, list, rotate, revoke."),
    Noun("plans", CUSTOMERS, "What accounts buy: fee, limits and names for models."),
    Noun("topup", MONEY, "Buy credit for an account through Stripe: a link, a QR code, and word when it is paid."),
    Noun("topups", MONEY, "Purchases of credit: list, show, compare with Stripe."),
    Noun("refund", MONEY, "Send the unused part of a top-up back to its payer."),
    Noun("grant", MONEY, "Give an account credit without a payment."),
    Noun("statement", MONEY, "An account's month: balances, top-ups, usage with both fees, to the cent."),
    Noun("ledger", MONEY, "Credit lots and entries; proof that the books are right; export for book-keeping."),
    Noun("credentials", UPSTREAMS, "Your own keys at the model providers, sealed at rest."),
    Noun("providers", UPSTREAMS, "Companies and servers that can be called; add your own by URL."),
    Noun("models", UPSTREAMS, "What can be called, who offers it, and at what price."),
    Noun("routing", UPSTREAMS, "Where requests may go, in what order, and why one goes where it goes."),
    Noun("status", REPORTS, "How providers do: what is down, success rates, times to first content."),
    Noun("usage", REPORTS, "Spending and tokens, by day, model, key or provider."),
    Noun("requests", REPORTS, "Single requests of the last days: what served them, what they cost."),
    Noun("videos", REPORTS, "Videos that providers make: list, show, give one up."),
    Noun("notify", INSTALLATION, "Who is told of outages, refused credentials and low balances, by mail or webhook."),
    Noun("doctor", INSTALLATION, "Check everything that can be wrong, and say how to mend it."),
    Noun("backup", INSTALLATION, "Copy this installation into a folder, while the gateway runs."),
    Noun("restore", INSTALLATION, "Make a home of a backup, on SQLite or PostgreSQL."),
    Noun("rekey", INSTALLATION, "Set a new master key, also where the old one is lost."),
    Noun("config", INSTALLATION, "Settings in config.toml: list, get, set, reset."),
)

NOUNS: Final = {noun.name: noun for noun in _ALL}
