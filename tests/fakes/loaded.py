"""Imported by the process that others are forked from (``tests/forked.py``): what the program loads before it can do anything."""

import gc

import psycopg
import rich.progress
import rich.table
import stripe
import stripe.checkout
import uvloop

from tokenhub.catalog import load
from tokenhub.cli import app as program
from tokenhub.cli.nouns import NOUNS
from tokenhub.operations import first_run, retention
from tokenhub.operations.payments import comparison, work
from tokenhub.proxy import app, supervisor
from tokenhub.store.vault import KEY_BYTES, Vault

MODULES = (psycopg, rich.progress, rich.table, uvloop, first_run, retention, comparison, work, app, supervisor)
COMMANDS = [program.load(noun) for noun in NOUNS]
OBJECTS = (stripe.Charge, stripe.Dispute, stripe.Event, stripe.PaymentIntent, stripe.Refund, stripe.checkout.Session)
_client = stripe.StripeClient("sk_test_of_nobody").v1
SERVICES = (
    *(_client.balance, _client.charges, _client.checkout.sessions, _client.customers, _client.disputes),
    *(_client.events, _client.payment_intents, _client.refunds),
)
"""Stripe's library loads each when it is first named."""

stripe.HTTPClient.INITIAL_DELAY, stripe.HTTPClient.MAX_DELAY = 0.001, 0.01  # as the fixture ``stripe`` has it
Vault(bytes(KEY_BYTES)).seal("", b"")
load.load()
gc.collect()
gc.freeze()
