"""A process that deals with Stripe, as a gateway's payments thread and the commands do; a test tells it what, and when.

Each line on standard input is a command with the time at which it happens (``now_ms``: this
process has no other clock); each line on standard output is its answer. The process ends with
its input, or dies where ``TOKENHUB_FAILPOINT`` says.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.forked import Piped
from tokenhub import clock
from tokenhub.errors import HubError
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home


class Died(Exception):
    """The process was killed before it answered."""


class PaymentProcess:
    """Such a process, seen by the test that started it."""

    def __init__(self, environment: Mapping[str, str], failpoint: str = "") -> None:
        self._process = Piped(main, environment={**environment, "TOKENHUB_FAILPOINT": failpoint})

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, do: str, now_ms: int, **arguments: Any) -> None:
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, "now_ms": now_ms, **arguments}) + "\n")
            self._process.stdin.flush()

    def answer(self) -> Any:
        """The answer to the oldest command without one. Raises Died."""
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            assert self._process.wait(30) == -9, "it did not die of SIGKILL"
            raise Died
        return json.loads(line)

    def ask(self, do: str, now_ms: int, **arguments: Any) -> Any:
        self.tell(do, now_ms, **arguments)
        return self.answer()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()

    def end(self) -> int:
        """Close its input and return how it ended."""
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait(60)
        self._process.stdout.close()
        return code


def main() -> None:
    from tokenhub.operations.payments import comparison, recharges, refunds, topups, webhooks, work
    from tokenhub.operations.payments.connection import connect

    base = os.environ["TOKENHUB_STRIPE_API_BASE"]
    with Hub.open(Home(Path(os.environ["TOKENHUB_HOME"]), explicit=True), {"stripe.api_base": base}) as hub:

        def topup(
            account: int, amount: int, currency: str = "usd", methods: tuple[str, ...] = (), save: bool = False
        ) -> Any:
            return topups.create(hub, account, amount, currency, methods, save_card=save).id

        def webhook(body: str, signature: str) -> Any:
            return webhooks.take(hub, body.encode(), signature, clock.now_ms())

        def recharge(account: int, amount: int, below: int, cap: int) -> Any:
            recharges.configure(hub, account, amount, below, cap)

        commands: dict[str, Callable[..., Any]] = {
            "topup": topup,
            "reconcile": lambda topup: topups.reconcile(hub, connect(hub), topup).state,
            "reconcile_since": lambda since_ms: len(comparison.reconcile_since(hub, since_ms)),
            "refund": lambda topup, amount=None: refunds.request(hub, topup, amount).state.value,
            "recharge": recharge,
            "recharge_off": lambda account: recharges.off(hub, account) and None,
            "webhook": webhook,
            "start": lambda: work.started(hub),
            "work": lambda: work.tick(hub, clock.now_ms()),
        }
        for line in sys.stdin:
            command = json.loads(line)
            now_ms = command.pop("now_ms")
            clock.now_ms = lambda now_ms=now_ms: now_ms or time.time_ns() // 1_000_000  # type: ignore[misc]
            try:
                answer = {"said": commands[command.pop("do")](**command)}
            except HubError as error:
                answer = {"refused": error.code, "message": error.message}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
