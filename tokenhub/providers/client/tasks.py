"""Tasks at providers (``providers/jobs.py``), asked for, many at once, and withdrawn."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from tokenhub.providers.client.bounds import Timeouts
from tokenhub.providers.client.upstream import UpstreamClient
from tokenhub.providers.jobs import JobAdapter, JobAt, Phase, Report
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault

AT_ONCE: Final = 16
"""Looks at one provider at the same time."""
TIMEOUTS: Final = Timeouts(connect_s=5.0, first_byte_s=8.0, whole_reply_s=8.0, idle_s=8.0, total_s=20.0)
ANSWER_BYTES: Final = 1024 * 1024

Task = tuple[JobAdapter, JobAt]


async def ask(client: UpstreamClient, adapter: JobAdapter, at: JobAt) -> Report:
    """Ask a provider how a task is; raises UpstreamFault."""
    response = await client.send(adapter.poll(at), stream=False)
    body = await (response.read(ANSWER_BYTES) if response.ok else response.error_body())
    return adapter.report(at, response.status, response.headers, body)


async def withdraw(client: UpstreamClient, adapter: JobAdapter, at: JobAt) -> None:
    """Ask a provider to cancel a task, where it can be asked; whether it does changes nothing here."""
    request = adapter.cancel(at)
    if request is None:
        return
    try:
        response = await client.send(request, stream=False)
        await response.error_body()
    except UpstreamFault:
        return


async def look_and_withdraw(client: UpstreamClient, adapter: JobAdapter, at: JobAt) -> Report | None:
    """Ask how a task is, and have it cancelled unless it has ended; None when its provider does not answer."""
    try:
        report = await ask(client, adapter, at)
    except UpstreamFault:
        report = None
    if report is None or report.phase in (Phase.QUEUED, Phase.RUNNING):
        await withdraw(client, adapter, at)
    return report


def ask_each(hop: str, tasks: Sequence[Task]) -> Iterator[tuple[int, Report | Failure]]:
    """Ask for many tasks from outside an event loop; yield the place of each with its answer, as the answers come.

    ``AT_ONCE`` of one provider are asked at the same time, so one that does not answer keeps no
    other waiting.
    """
    with asyncio.Runner() as runner:
        asked = runner.run(_begin(hop, tasks))
        try:
            for _ in tasks:
                yield runner.run(asked.answers.get())
        finally:
            runner.run(asked.end())


class _Asked:
    """Looks under way."""

    def __init__(self, hop: str) -> None:
        self.answers: asyncio.Queue[tuple[int, Report | Failure]] = asyncio.Queue()
        self._client = UpstreamClient(hop, TIMEOUTS)
        self._places: dict[str, asyncio.Semaphore] = {}
        self._looks: list[asyncio.Task[None]] = []

    def begin(self, number: int, task: Task) -> None:
        places = self._places.setdefault(task[1].provider.id, asyncio.Semaphore(AT_ONCE))
        self._looks.append(asyncio.create_task(self._look(number, task, places)))

    async def _look(self, number: int, task: Task, places: asyncio.Semaphore) -> None:
        answer: Report | Failure
        async with places:
            try:
                answer = await ask(self._client, *task)
            except UpstreamFault as fault:
                answer = fault.failure
            except Exception as error:
                # What one provider says must not keep the others from being asked.
                answer = Failure(FaultKind.PROTOCOL, code=f"unreadable_{type(error).__name__}")
        self.answers.put_nowait((number, answer))

    async def end(self) -> None:
        for look in self._looks:
            look.cancel()
        await asyncio.gather(*self._looks, return_exceptions=True)
        await self._client.close()


async def _begin(hop: str, tasks: Sequence[Task]) -> _Asked:
    asked = _Asked(hop)
    for number, task in enumerate(tasks):
        asked.begin(number, task)
    return asked


def withdraw_once(hop: str, task: Task) -> Report | None:
    """Do ``look_and_withdraw`` from outside an event loop."""

    async def once() -> Report | None:
        client = UpstreamClient(hop, TIMEOUTS)
        try:
            return await look_and_withdraw(client, *task)
        finally:
            await client.close()

    return asyncio.run(once())
