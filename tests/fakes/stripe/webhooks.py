"""Stripe's deliveries: signed events, at least once and in any order, as a test wants them."""

import copy
import hashlib
import hmac
import http.client
import json
import random
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.fakes.stripe.objects import Object
from tokenhub.billing.payments import EVENT_TYPES

RETRY_S = 0.1
TIMEOUT_S = 20.0
TOGETHER_S = 0.05
"""How long events are gathered before their order is drawn."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try. ``status`` 0: there was no answer."""

    event: str
    type: str
    status: int


def body(event: Object) -> bytes:
    """An event as it is posted: Stripe indents its JSON."""
    return json.dumps(event, indent=2).encode()


def thin(event: Object) -> bytes:
    """The same event as a thin one: it names the object and does not hold it."""
    about = event["data"]["object"]
    return json.dumps(
        {
            "id": event["id"],
            "object": "v2.core.event",
            "type": f"v1.{event['type']}",
            "created": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(event["created"])),
            "livemode": event["livemode"],
            "context": None,
            "related_object": {"id": about["id"], "type": about["object"], "url": f"/v1/objects/{about['id']}"},
        }
    ).encode()


def signature(payload: bytes, secrets: str | Sequence[str], at_s: int | None = None) -> str:
    """The ``Stripe-Signature`` header; while a secret is being replaced Stripe signs with both."""
    at_s = int(time.time()) if at_s is None else at_s
    keys = [secrets] if isinstance(secrets, str) else secrets
    signed = b"%d.%b" % (at_s, payload)
    return f"t={at_s}" + "".join(f",v1={hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()}" for key in keys)


def post(url: str, payload: bytes, header: str | None, *, timeout_s: float = TIMEOUT_S) -> int:
    """Post a payload as Stripe does; return the status, 0 when there is no answer. Redirects are not followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Stripe/1.0"}
    if header is not None:
        headers["Stripe-Signature"] = header
    try:
        connection.request("POST", parts.path, payload, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


class Webhooks:
    """An endpoint that Stripe knows: delivers each event from a thread of its own, until ``stop``.

    ``copies`` posts each event so often, at the same time; ``missing`` types are never
    delivered; with ``reorder`` (a seed) what happens together is delivered in any order. What
    is not taken (2xx) is tried again, ``tries`` times in all.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        types: Collection[str] = EVENT_TYPES,
        missing: Collection[str] = (),
        copies: int = 1,
        reorder: int | None = None,
        tries: int = 5,
        as_thin: bool = False,
    ) -> None:
        self.url = url
        self.secret: str | Sequence[str] = secret
        self.types = types
        self.missing = missing
        self.copies = copies
        self.tries = tries
        self.as_thin = as_thin
        self.deliveries: list[Delivery] = []
        self._chance = random.Random(reorder) if reorder is not None else None
        self._waiting: list[Object] = []
        self._under_way = 0
        self._changed = threading.Condition()
        self._held = self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def note(self, event: Object) -> None:
        """Take an event that has happened."""
        if event["type"] in self.types and event["type"] not in self.missing:
            with self._changed:
                self._waiting.append(copy.deepcopy(event))
                self._changed.notify_all()

    def hold(self) -> None:
        """Keep what happens from now on, until ``release``."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        """Deliver what was kept."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def drop(self) -> int:
        """Lose what is waiting; return how many events that were."""
        with self._changed:
            lost, self._waiting = len(self._waiting), []
            return lost

    def wait(self, timeout_s: float = 30.0) -> None:
        """Wait until everything was taken or given up."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._waiting and not self._under_way, timeout_s), "not delivered"

    def stop(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(TIMEOUT_S)

    def deliver(self, event: Object) -> list[int]:
        """Post one event now, so often as ``copies`` says; return the statuses."""
        payload = thin(event) if self.as_thin else body(event)
        statuses: list[int] = []

        def one() -> None:
            status = post(self.url, payload, signature(payload, self.secret))
            statuses.append(status)
            self.deliveries.append(Delivery(event["id"], event["type"], status))

        threads = [threading.Thread(target=one, daemon=True) for _ in range(self.copies)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_S)
        return statuses

    def _run(self) -> None:
        while (event := self._next()) is not None:
            with suppress(Exception):
                self._deliver_with_tries(event)
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _next(self) -> Object | None:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._over or (self._waiting and not self._held))
                if self._chance is not None:
                    self._changed.wait_for(lambda: self._over, TOGETHER_S)
                if self._over:
                    return None
                if self._waiting and not self._held:
                    self._under_way += 1
                    return self._waiting.pop(self._chance.randrange(len(self._waiting)) if self._chance else 0)

    def _deliver_with_tries(self, event: Object) -> None:
        for number in range(self.tries):
            if all(200 <= status < 300 for status in self.deliver(event)) or self._over:
                return
            time.sleep(RETRY_S * 2**number)
