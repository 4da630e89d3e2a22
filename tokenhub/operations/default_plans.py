"""The three plans that a new installation starts with: a start, to be edited.

Fee, limits and model names bind by themselves; support, availability and compliance are what
the operator promises, in words, and has to keep.
"""

from typing import Final

from tokenhub.accounts.accounts import Plan
from tokenhub.store import accounts as store
from tokenhub.store.database import Database

DEFAULTS: Final = (
    Plan("starter", 1, fee_bp=300, key_rpm=60, account_rpm=600, concurrency=50,
         support="Community forum and e-mail, answered within two working days.", sla="Best effort."),
    Plan("pro", 1, fee_bp=200, key_rpm=300, account_rpm=3_000, concurrency=200,
         support="E-mail, answered within one working day.", sla="99.5 % of minutes in a month.",
         compliance="A data processing agreement on request."),
    Plan("enterprise", 1, fee_bp=100, key_rpm=1_200, account_rpm=12_000, concurrency=1_000,
         support="A named engineer, answering within one hour, day and night.", sla="99.9 % of minutes in a month.",
         compliance="A data processing agreement; providers and regions by agreement, named by the plan's own model names."),
)  # fmt: skip
"""Fees are basis points of the model fee (300 = 3 %)."""


def seed(database: Database) -> None:
    """Add the default plans to a new installation, inside its first write."""
    for plan in DEFAULTS:
        store.insert_plan(database, plan)
