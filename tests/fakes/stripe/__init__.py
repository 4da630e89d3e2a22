"""Stripe on this machine: an HTTP server that keeps its own books, and goes wrong when it is told to.

    with FakeStripe.start() as stripe:
        session = ...                       # made by the code under test, at ``stripe.url`` with ``stripe.secret_key``
        stripe.pay(session)                 # the person pays

Every request and every reply is held against Stripe's own description of its API where
``../shared/specs`` is there; ``broken`` lists what did not fit, and the fixture ``stripe``
fails a test that left something in it.
"""

from tests.fakes.stripe.server import FakeStripe

__all__ = ["FakeStripe"]
