"""A gateway's process as far as the ledger sees it: a lease, a writer, and commands on standard input, a JSON line each.

    {"do": "burst", "places": [[request, key, wanted, {field: value}], …]}      all at once; answers how each went
    {"do": "churn", "keys": […], "requests": N, "parallel": P, "seed": S}       N requests, P at a time

A churn says what each caller sees, when it sees it: ``placed``, ``settled`` with the charge,
``released``, ``refused`` with the reason; ``[begun_ms, word, request, …]``. The last line of
every answer is ``"done"``. The process ends with its input.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fakes.bank import Bank
from tests.forked import Piped
from tokenhub import clock
from tokenhub.billing.holds import Ended, Outcome, Place, Placed, Refusal, Refused
from tokenhub.errors import HubError
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store.database import open_database
from tokenhub.store.writer import Writer


class LedgerProcess:
    """Such a process, seen by the test that started it."""

    def __init__(self, environment: Mapping[str, str], failpoint: str = "") -> None:
        self._process = Piped(run, environment={**environment, "TOKENHUB_FAILPOINT": failpoint})

    def tell(self, **command: Any) -> None:
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Iterator[Any]:
        """Return the lines of the answer; they end with "done", or with the process."""
        for line in self._process.stdout:
            if line == '"done"\n':
                return
            if line.endswith("\n"):
                yield json.loads(line)

    def ask(self, **command: Any) -> list[Any]:
        self.tell(**command)
        return list(self.answer())

    def end(self) -> int:
        """Close its input and return how it ended."""
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait(30)
        self._process.stdout.close()
        return code


def say(*words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def word(outcome: Outcome | BaseException) -> str:
    match outcome:
        case Placed():
            return "placed"
        case Refused(reason):
            return reason.value
        case Ended(end):
            return end.value
        case HubError(code=code):
            return str(code)
    return repr(outcome)


class Callers:
    """Answers the commands."""

    def __init__(self, bank: Bank, writer: Writer) -> None:
        self._bank = bank
        self._writer = writer

    async def burst(self, places: list[list[Any]]) -> None:
        planned = [self._bank.place(name, key, wanted, **fields) for name, key, wanted, fields in places]
        futures = [self._writer.submit(place) for place in planned]
        for outcome in await asyncio.gather(*futures, return_exceptions=True):
            say(word(outcome))

    async def churn(self, keys: list[str], requests: int, parallel: int, seed: int) -> None:
        numbers = iter(range(requests))
        chance = random.Random(seed)
        planned = {key: self._bank.place("", key, 0, minimum_nano=0) for key in keys}

        async def caller() -> None:
            for number in numbers:
                await self._request(f"{os.getpid()}-{seed}-{number}", chance, planned)

        await asyncio.gather(*(caller() for _ in range(parallel)))

    async def _request(self, name: str, chance: random.Random, planned: dict[str, Place]) -> None:
        key = chance.choice(list(planned))
        begun_ms = clock.boot_ms()
        amount = chance.randrange(1, 500)
        outcome = await self._writer.submit(
            replace(planned[key], request_id=name, wanted_nano=amount, minimum_nano=amount)
        )
        if not isinstance(outcome, Placed):
            say(begun_ms, "refused", name, word(outcome))
            if outcome == Refused(Refusal.STALE):
                planned[key] = self._bank.place("", key, 0)
            return
        say(begun_ms, "placed", name, key)
        match chance.randrange(10):
            case 0:
                self._writer.post(self._bank.release(name, key, status=499, error_code="caller_left"))
            case 1 | 2:
                ended = await self._writer.submit(
                    self._bank.release(name, key, status=502, error_code="upstream_error")
                )
                say(begun_ms, word(ended), name)
            case _:
                ended = await self._writer.submit(self._bank.settle(name, key, chance.randrange(amount + 50), 3))
                assert isinstance(ended, Ended)
                say(begun_ms, word(ended), name, ended.charged_nano)


async def main() -> None:
    home = Home(Path(os.environ["TOKENHUB_HOME"]), explicit=True)
    database = open_database(Settings(database_url=os.environ.get("TOKENHUB_DATABASE_URL", "")), home)
    bank = Bank(database, home)
    writer = Writer(database, bank.lease)
    writer.start()
    callers = Callers(bank, writer)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        await getattr(callers, command.pop("do"))(**command)
        print('"done"', flush=True)
    assert writer.close(10)
    database.close()


def run() -> None:
    asyncio.run(main())
