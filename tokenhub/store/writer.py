"""The writer: one thread per process that turns many small writes into few commits.

Everything that queued up while the last commit ran becomes one transaction, and every waiter
is answered after it is on disk (group commit). So a charge costs a share of an fsync, and
no event loop ever waits for a disk.
What cannot be written, and what becomes of its waiters, is the matter of ``commit.py`` and ``kept.py``.
"""

import asyncio
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from tokenhub import clock
from tokenhub.billing.holds import Ended, Operation, Outcome, Place, Placed
from tokenhub.errors import Unavailable
from tokenhub.observability import log
from tokenhub.store import revision
from tokenhub.store.commit import Answer, Committer, Item
from tokenhub.store.commit import OutcomeUnknown as OutcomeUnknown
from tokenhub.store.database import Database, StoreBusy
from tokenhub.store.kept import Kept, unwritten
from tokenhub.store.leases import RENEWALS, Lease

T = TypeVar("T")

GATHER_FROM: Final = 4
GATHER_TIMES: Final = 2
GATHER_MOST_S: Final = 0.005
"""After a batch of this many the writer rests twice as long as that batch took, so that one commit serves more: under
load it then writes for a third of the time at most, whatever a sync costs here. A request that comes alone never waits."""
MAX_BATCH: Final = 256
MAX_QUEUE: Final = 10_000
PATIENCE_S: Final = 10.0
PLACE_PATIENCE_S: Final = 5.0
"""How long a place waits for what other transactions have locked."""
IDLES: Final = 8
"""With nothing to write, the thread looks after its lease this many times in its length."""
SWEEP_S: Final = 30.0
"""How often the process looks for holds in its own name that it does not know."""
TELL_AGAIN_S: Final = 10.0
JOB_TRIES: Final = 5
JOB_PAUSE_S: Final = 0.02


@dataclass(slots=True, eq=False)
class _Job:
    """Some other write: a function that runs in a transaction of its own, and where its result goes."""

    write: Callable[[Database], Any]
    future: "Future[Any]"


class Writer:
    """Takes operations from the event loops of this process and writes them in order of arrival.

    ``batches``, ``operations`` and ``batch_s`` (how long the last batch took) are for metrics.
    ``fenced`` is set, and ``on_fenced`` called in the writer's thread, when the lease is lost.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        *,
        max_batch: int = MAX_BATCH,
        max_queue: int = MAX_QUEUE,
        patience_s: float = PATIENCE_S,
        place_patience_s: float = PLACE_PATIENCE_S,
        now_ms: Callable[[], int] | None = None,
        on_fenced: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._committer = Committer(database, lease, now_ms or database.now_ms)
        self._max_batch, self._max_queue = max_batch, max_queue
        self._kept = Kept(patience_s, place_patience_s)
        self._idle_s = lease.duration_ms / 1000 / IDLES
        self._proof_s = 2 * lease.duration_ms / 1000 / RENEWALS
        """An idle thread has renewed its lease in this time, if anything can be written."""
        self._on_fenced = on_fenced
        self._queue: SimpleQueue[Item | _Job | None] = SimpleQueue()
        self._batch: list[Item] = []
        """What is being written; ``_kept`` is to be written again, ``_jobs`` came with the batch."""
        self._jobs: list[_Job] = []
        self._is_busy = False
        self._open: set[str] = set()
        self._next_sweep_s = self._tell_again_s = self._away_until_s = 0.0
        self._thread = threading.Thread(target=self._run, name="tokenhub-writer", daemon=True)
        self._closing = self._stopped = False
        self._unwritten: list[Item] = []
        self._giving_up = threading.Lock()
        self._deadline_s = float("inf")
        self.fenced = threading.Event()
        self.batches = 0
        self.operations = 0
        self.batch_s = 0.0

    @property
    def waiting(self) -> int:
        """How many operations wait for the next batch."""
        return self._queue.qsize() + len(self._kept)

    @property
    def is_away(self) -> bool:
        """Whether the database took nothing lately, and nothing since."""
        return clock.monotonic_s() < self._away_until_s

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Write what is queued, stop, and tell whether all of it was written in this time."""
        self._deadline_s = clock.monotonic_s() + timeout_s
        self._closing = True
        self._queue.put(None)
        self._thread.join(timeout_s + PLACE_PATIENCE_S)
        return not self._thread.is_alive() and not self._unwritten

    def submit(self, operation: Operation) -> "asyncio.Future[Outcome]":
        """Queue an operation and return its outcome to come, in the running event loop.

        The future fails with Unavailable when the database is away (a place only), with
        OutcomeUnknown, or with InternalError. A place is refused at once, by Unavailable
        ``overloaded``, when too much is queued or the process is closing.
        """
        if isinstance(operation, Place):
            self._check_room()
        if self._stopped:
            raise _closing()
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._put(Item(operation, future))
        return future

    def post(self, operation: Operation) -> None:
        """Queue an operation whose outcome nobody waits for."""
        self._queue.put(Item(operation))

    def run(self, write: Callable[[Database], T]) -> "Future[T]":
        """Run any other small write in a transaction of its own, in the writer's thread."""
        self._check_room()
        future: Future[T] = Future()
        self._put(_Job(write, future))
        return future

    def hand_over(self, request_id: str, write: Callable[[Database], T]) -> "Future[T]":
        """Run a write that makes a hold somebody else's to end: this process will not look after it any more."""
        future = self.run(write)

        def done(_: "Future[T]") -> None:
            if not future.cancelled() and future.exception() is None:
                self._open.discard(request_id)

        future.add_done_callback(done)
        return future

    def place_planned(self, plan: Callable[[Database], Place]) -> "asyncio.Future[Outcome]":
        """Plan a place on rows read in the write itself, so that it cannot be stale, and return its outcome to come.

        Management changes wait meanwhile. What ``plan`` raises, the future raises.
        """
        return asyncio.wrap_future(self.run(lambda database: self._place_planned(database, plan)))

    def _place_planned(self, database: Database, plan: Callable[[Database], Place]) -> Outcome:
        revision.lock(database)
        place = plan(database)
        outcome = self._committer.apply(place)
        self._note([(Item(place), outcome)])
        return outcome

    def _check_room(self) -> None:
        if self._closing:
            raise _closing()
        if self._queue.qsize() >= self._max_queue:
            raise Unavailable("The gateway has more requests than it can take.", code="overloaded", retry_after_s=1)

    def _put(self, one: Item | _Job) -> None:
        """Queue something that is waited for; where the thread has given up meanwhile, nobody else would answer."""
        self._queue.put(one)
        if self._stopped:
            self._refuse_queued()

    # The thread

    def _run(self) -> None:
        self._database.hurry()
        try:
            while not self._is_done():
                self._commit()
                self._work()
                self._sweep()
        except Exception as error:
            log.failure("writer_failed", error)
            self._fence()
        finally:
            self._give_up()
            self._database.close()

    def _is_done(self) -> bool:
        if not self._closing:
            return False
        return clock.monotonic_s() >= self._deadline_s or not (self._kept or self._queue.qsize())

    def _commit(self) -> None:
        """Write the next batch, or renew the lease when there is none, and answer those whose operations are done."""
        self._collect()
        started_s = clock.monotonic_s()
        result = self._committer.commit(self._batch)
        self._is_busy = len(self._batch) >= GATHER_FROM
        self._batch = []
        self.batches += bool(result.answers)
        self.operations += len(result.answers)
        self.batch_s = clock.monotonic_s() - started_s
        if result.fenced:
            self._fence()
        self._note(result.answers)
        self._deliver(result.answers)
        if result.error is None:
            self._kept.written()
            if result.answers:
                self._away_until_s = 0.0
        else:
            self._keep(result.left, result.error, started_s)

    def _collect(self) -> None:
        """Take what was kept and what is queued, up to a full batch; wait for something when there is nothing."""
        self._batch = self._kept.take(self._max_batch)
        wait_s = self._kept.pause_s if self._batch else self._idle_s
        try:
            self._sort(self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait(), self._batch)
            if self._is_busy:
                time.sleep(min(GATHER_TIMES * self.batch_s, GATHER_MOST_S))
            while len(self._batch) < self._max_batch:
                self._sort(self._queue.get_nowait(), self._batch)
        except Empty:
            return

    def _sort(self, taken: Item | _Job | None, items: list[Item]) -> None:
        if isinstance(taken, Item):
            items.append(taken)
        elif taken is not None:
            self._jobs.append(taken)

    def _fence(self) -> None:
        if not self.fenced.is_set():
            self.fenced.set()
            self._on_fenced()

    def _note(self, answers: Iterable[tuple[Item, Answer]]) -> None:
        """Remember which holds are open in this process's name."""
        for item, answer in answers:
            if isinstance(answer, Ended):
                self._open.discard(item.operation.request_id)
            elif isinstance(answer, Placed):
                self._open.add(item.operation.request_id)

    def _keep(self, left: list[Item], error: Unavailable, started_s: float) -> None:
        """Keep what must be written later; while the database is away, that is all that is queued."""
        if not isinstance(error, StoreBusy):
            self._away_until_s = clock.monotonic_s() + self._proof_s
            self._tell(error)
            left = left + self._drain()
            self._refuse_jobs(error)
        self._deliver(self._kept.keep(left, error, started_s, clock.monotonic_s()))

    def _tell(self, error: Unavailable) -> None:
        """Log why nothing can be written, once in a while."""
        if (now_s := clock.monotonic_s()) >= self._tell_again_s:
            self._tell_again_s = now_s + TELL_AGAIN_S
            log.failure("store_write", error, reason=str(error))

    def _drain(self) -> list[Item]:
        """Take all operations that are queued."""
        items: list[Item] = []
        with suppress(Empty):
            while True:
                self._sort(self._queue.get_nowait(), items)
        return items

    def _refuse_jobs(self, error: BaseException) -> None:
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)

    def _work(self) -> None:
        """Do the jobs that came with the last batch."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            if job.future.set_running_or_notify_cancel():
                self._do(job)

    def _do(self, job: _Job, tries: int = JOB_TRIES) -> None:
        try:
            with self._database.write():
                result = job.write(self._database)
        except StoreBusy as error:
            if tries == 1:
                job.future.set_exception(error)
                return
            time.sleep(random.uniform(0.5, 1) * JOB_PAUSE_S)
            self._do(job, tries - 1)
        except Exception as error:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)

    def _sweep(self) -> None:
        """Release holds in this process's name that it does not know; none are in doubt while nothing is kept."""
        now_s = clock.monotonic_s()
        if self._kept or now_s < self._next_sweep_s or self.fenced.is_set():
            return
        self._next_sweep_s = now_s + SWEEP_S
        try:
            released = self._committer.release_unknown(self._open.__contains__)
        except Unavailable:
            return
        if released:
            log.event("unknown_holds_released", level="warning", holds=released)

    def _give_up(self) -> None:
        """Answer all who still wait when the thread ends; their holds are released with the lease."""
        self._closing = self._stopped = True
        self._refuse_queued(self._batch + self._kept.take(len(self._kept)))

    def _refuse_queued(self, left: Sequence[Item] = ()) -> None:
        with self._giving_up:
            items = [*left, *self._drain()]
            self._unwritten += items
            self._refuse_jobs(_closing())
        places = [item for item in items if isinstance(item.operation, Place)]
        ends = [item for item in items if not isinstance(item.operation, Place)]
        self._deliver([(item, _closing()) for item in places])
        self._deliver([(item, unwritten(item)) for item in ends])

    # Answers

    def _deliver(self, answers: Iterable[tuple[Item, Answer]]) -> None:
        """Answer the waiters: one call into each event loop, however many wait there."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Outcome], Answer]]] = defaultdict(list)
        for item, answer in answers:
            if item.waiter is not None:
                by_loop[item.waiter.get_loop()].append((item.waiter, answer))
        for loop, waiting in by_loop.items():
            try:
                loop.call_soon_threadsafe(_answer, waiting)
            except RuntimeError:
                log.event("operations_unheard", level="warning", operations=len(waiting))


def _answer(waiting: list[tuple["asyncio.Future[Outcome]", Answer]]) -> None:
    for future, answer in waiting:
        if future.done():
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _closing() -> Unavailable:
    return Unavailable("The gateway is shutting down.", code="overloaded", retry_after_s=1)
