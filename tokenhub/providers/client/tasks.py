"""Tasks at providers (``providers/jobs.py``), asked for, many at once, and withdrawn."""

import asyncio
from collections.abc import Sequence
from typing import Final

from tokenhub.providers.client.bounds import Timeouts
from tokenhub.providers.client.upstream import UpstreamClient
from tokenhub.providers.jobs import JobAdapter, JobAt, Phase, Report
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault

AT_ONCE: Final = 16
TIMEOUTS: Final = Timeouts(connect_s=5.0, first_byte_s=20.0, whole_reply_s=20.0, idle_s=20.0, total_s=40.0)
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


def ask_all(hop: str, tasks: Sequence[Task]) -> list[Report | Failure]:
    """Ask for many tasks from outside an event loop, ``AT_ONCE`` at the same time; the answers are in their order."""

    async def all_of_them() -> list[Report | Failure]:
        client, places = UpstreamClient(hop, TIMEOUTS), asyncio.Semaphore(AT_ONCE)

        async def one(task: Task) -> Report | Failure:
            async with places:
                try:
                    return await ask(client, *task)
                except UpstreamFault as fault:
                    return fault.failure
                except Exception as error:
                    # What one provider says must not keep the others from being asked.
                    return Failure(FaultKind.PROTOCOL, code=f"unreadable_{type(error).__name__}")

        try:
            return list(await asyncio.gather(*map(one, tasks)))
        finally:
            await client.close()

    return asyncio.run(all_of_them())


def withdraw_once(hop: str, task: Task) -> Report | None:
    """Do ``look_and_withdraw`` from outside an event loop."""

    async def once() -> Report | None:
        client = UpstreamClient(hop, TIMEOUTS)
        try:
            return await look_and_withdraw(client, *task)
        finally:
            await client.close()

    return asyncio.run(once())
