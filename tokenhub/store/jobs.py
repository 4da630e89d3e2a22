"""Jobs in the database: begun with a request's hold, made a job's when a provider has taken it, ended with the hold.

The hold decides. A job's end and its row are one transaction, in which the row follows what
became of the hold; a job whose hold has ended otherwise is told so by the next look at it.
Rows are locked in the order of every batch: the lease, the account, then the job (T95).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tokenhub import failpoints
from tokenhub.billing.holds import End, Ended, Release, Settle
from tokenhub.store import leases, purses
from tokenhub.store.database import Database, clean_text
from tokenhub.store.holds import Holds, LeaseLost
from tokenhub.store.leases import Lease

TEXT_CHARS: Final = 2_000
UNBORN_MS: Final = 5_000
"""How often a job that no provider has taken yet is looked at."""
FORGET_BATCH: Final = 200


class JobState(StrEnum):
    """Where a job is. The first three are open."""

    CREATING = "creating"
    """No provider has taken it yet; its hold is the request's."""
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


OPEN: Final = (JobState.QUEUED, JobState.IN_PROGRESS)
"""States in which the hold is the job's."""


@dataclass(frozen=True, slots=True)
class Job:
    """A row of ``jobs``. Moments are ms since 1970; ``asked``, ``card`` and ``attempts`` are JSON."""

    id: str
    account_id: int
    key_id: str
    capability: str
    state: JobState
    model: str
    asked: str
    provider: str | None
    region: str | None
    credential_id: int | None
    deployment: str | None
    upstream_model: str | None
    upstream_id: str | None
    card: str
    price_version: str | None
    fee_bp: int
    attempts: str
    decision: str
    progress: int
    error_code: str | None
    reason: str
    polls: int
    misses: int
    next_poll_at: int | None
    expires_at: int
    content_until: int | None
    created_at: int
    ended_at: int | None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class Taken:
    """What is known once a provider has taken a job: where it is, and what it will be charged by."""

    model: str
    asked: str
    provider: str
    region: str
    credential_id: int
    deployment: str
    upstream_model: str
    upstream_id: str
    card: str
    price_version: str
    fee_bp: int
    attempts: str
    decision: str


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ends, if its hold lets it."""

    state: JobState
    error_code: str | None = None
    reason: str = ""
    content_until: int | None = None


_COLUMNS: Final = ", ".join(Job.__slots__)
_TAKEN: Final = ", ".join(f"{name} = ?" for name in Taken.__slots__)
_OPEN: Final = "state IN ('queued', 'in_progress')"
_HOLD_ENDED: Final = JobEnd(
    JobState.FAILED, "job_released", "It was ended before it was complete; nothing was charged."
)


def begin(
    database: Database, job_id: str, account_id: int, key_id: str, capability: str, now_ms: int, expires_at: int
) -> None:
    """Write down, before any provider is asked, that a job is being made, in the caller's write.

    If the process dies before a provider has answered, this is what the caller finds.
    """
    database.execute(
        "INSERT INTO jobs (id, account_id, key_id, capability, state, expires_at, created_at, next_poll_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (job_id, account_id, key_id, capability, JobState.CREATING.value, expires_at, now_ms, now_ms + UNBORN_MS),
    )


def adopt(database: Database, lease: Lease, job_id: str, taken: Taken, now_ms: int, next_poll_at: int) -> bool:
    """Make a request's hold the job's, in the caller's write; say whether the job stands.

    From then on it has nothing to do with the life of this process. Done again it changes
    nothing, and says so whatever has become of the job since. False when the hold has ended
    meanwhile: there is nothing to charge it with. Raises LeaseLost.
    """
    if leases.check_and_renew(database, lease, now_ms) is None:
        raise LeaseLost
    row = database.row("SELECT account_id FROM jobs WHERE id = ?", (job_id,))
    if row is None:
        return False
    purses.lock(database, *row)
    found = find(database, job_id)
    if found is None:
        return False
    if found.state is not JobState.CREATING:
        return found.upstream_id == _storable(taken.upstream_id) and found.error_code != _HOLD_ENDED.error_code
    moved = database.execute(
        "UPDATE holds SET owner = 'job', lease_id = NULL WHERE request_id = ? AND lease_id = ? AND owner = 'request'",
        (job_id, lease.id),
    ).rowcount
    if moved != 1:
        return False
    values = [_storable(getattr(taken, name)) for name in Taken.__slots__]
    database.execute(
        f"UPDATE jobs SET {_TAKEN}, state = ?, next_poll_at = ? WHERE id = ?",
        (*values, JobState.QUEUED.value, next_poll_at, job_id),
    )
    failpoints.hit("job.adopting")
    return True


def end(
    database: Database, holds: Holds, lease: Lease | None, operation: Settle | Release, wanted: JobEnd, now_ms: int
) -> Ended:
    """End a job's hold and its row in one transaction, and return how the hold has ended, by this or by an earlier end.

    ``lease``: of the process that asks; None for a command. The row becomes what is wanted if
    the hold ended that way; a hold that had ended otherwise makes it say so. Raises LeaseLost.
    """
    job_id = operation.request_id
    with database.write():
        failpoints.hit("job.ending")
        (outcome,) = (
            holds.apply_alone([operation], now_ms) if lease is None else holds.apply([operation], lease, now_ms)
        )
        assert isinstance(outcome, Ended)
        become = wanted if (outcome.end is End.SETTLED) == (wanted.state is JobState.COMPLETED) else _instead(outcome)
        database.execute(
            "UPDATE jobs SET state = ?, error_code = ?, reason = ?, content_until = ?, progress = COALESCE(?, progress),"
            " next_poll_at = NULL, ended_at = ?"
            f" WHERE id = ? AND (ended_at IS NULL OR {_OPEN})",
            (
                become.state.value,
                _storable(become.error_code),
                _storable(become.reason),
                become.content_until,
                100 if become.state is JobState.COMPLETED else None,
                now_ms,
                job_id,
            ),
        )
        failpoints.hit("job.ended")
    failpoints.hit("job.end_committed")
    return outcome


def _instead(outcome: Ended) -> JobEnd:
    return JobEnd(JobState.COMPLETED) if outcome.end is End.SETTLED else _HOLD_ENDED


def seen(database: Database, job_id: str, state: JobState, progress: int | None, next_poll_at: int) -> None:
    """Note what a provider said of a job that goes on."""
    database.execute(
        "UPDATE jobs SET state = ?, progress = COALESCE(?, progress), polls = polls + 1, misses = 0, next_poll_at = ?"
        f" WHERE id = ? AND {_OPEN}",
        (state.value, progress, next_poll_at, job_id),
    )


def missed(database: Database, job_id: str, code: str, misses: int, next_poll_at: int) -> None:
    """Note that a provider gave no answer, for the how manyeth time; its word for why is kept for the operator."""
    database.execute(
        f"UPDATE jobs SET polls = polls + 1, misses = ?, error_code = ?, next_poll_at = ? WHERE id = ? AND {_OPEN}",
        (misses, _storable(code), next_poll_at, job_id),
    )


def settle_unborn(database: Database, lost: Collection[str], failed: JobEnd, now_ms: int, limit: int) -> int:
    """Look at jobs that no provider took, as far as anyone knows; return how many have an end now.

    While its hold is open, a job is still being made. A hold that ended with one of the error
    codes ``lost`` says that the process died: its caller was told nothing, and finds ``failed``.
    With any other end the caller was told why, and the row goes.
    """
    ended = 0
    with database.write():
        rows = database.rows(
            "SELECT j.id, r.error_code, r.id FROM jobs j LEFT JOIN requests r ON r.id = j.id"
            " WHERE j.next_poll_at <= ? AND j.state = 'creating' ORDER BY j.id LIMIT ?",
            (now_ms, limit),
        )
        for job_id, code, request_id in rows:
            if request_id is None:
                database.execute("UPDATE jobs SET next_poll_at = ? WHERE id = ?", (now_ms + UNBORN_MS, job_id))
            elif code in lost:
                database.execute(
                    "UPDATE jobs SET state = 'failed', error_code = ?, reason = ?, next_poll_at = NULL, ended_at = ?"
                    " WHERE id = ? AND state = 'creating'",
                    (failed.error_code, failed.reason, now_ms, job_id),
                )
            else:
                database.execute("DELETE FROM jobs WHERE id = ? AND state = 'creating'", (job_id,))
            ended += request_id is not None
    return ended


def is_due(database: Database, now_ms: int) -> bool:
    """Whether any job is to be looked at: a look without a write."""
    return database.row("SELECT 1 FROM jobs WHERE next_poll_at <= ? LIMIT 1", (now_ms,)) is not None


def due(database: Database, now_ms: int, limit: int, share: int) -> list[Job]:
    """Return the jobs to be looked at, the longest due first; of one provider at most its share."""
    place = "ROW_NUMBER() OVER (PARTITION BY provider ORDER BY next_poll_at, id)"
    due = f"SELECT {_COLUMNS}, {place} AS place FROM jobs WHERE next_poll_at <= ? AND {_OPEN}"
    sql = f"SELECT {_COLUMNS} FROM ({due}) AS due WHERE place <= ? ORDER BY next_poll_at, id LIMIT ?"
    return [_job(row) for row in database.rows(sql, (now_ms, share, limit))]


def find(database: Database, job_id: str, account_id: int | None = None) -> Job | None:
    """Return a job, of this account if one is named."""
    where, params = ("id = ?", [job_id]) if account_id is None else ("id = ? AND account_id = ?", [job_id, account_id])
    row = database.row(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", params)
    return None if row is None else _job(row)


def page(
    database: Database,
    account_id: int | None,
    *,
    after: str | None = None,
    limit: int = 20,
    ascending: bool = False,
    only_open: bool = False,
) -> list[Job]:
    """Return jobs that a provider was asked for, the newest first or the oldest; ``after``: the last id of the page before."""
    conditions, params = ["state <> 'creating'"], list[Any]()
    if account_id is not None:
        conditions.append("account_id = ?")
        params.append(account_id)
    if after is not None:
        conditions.append("id > ?" if ascending else "id < ?")
        params.append(after)
    if only_open:
        conditions.append(_OPEN)
    order = "ASC" if ascending else "DESC"
    sql = f"SELECT {_COLUMNS} FROM jobs WHERE {' AND '.join(conditions)} ORDER BY id {order} LIMIT ?"
    return [_job(row) for row in database.rows(sql, [*params, limit])]


def delete(database: Database, job_id: str) -> bool:
    """Delete the row of a job that has ended; False when it is open, or not there."""
    with database.write():
        return bool(database.execute("DELETE FROM jobs WHERE id = ? AND ended_at IS NOT NULL", (job_id,)).rowcount)


def forget(database: Database, before_ms: int) -> int:
    """Delete a part of the jobs that ended before a moment, and return how many."""
    with database.write():
        found = database.rows(
            "SELECT id FROM jobs WHERE ended_at < ? ORDER BY ended_at LIMIT ?", (before_ms, FORGET_BATCH)
        )
        for row in found:
            database.execute("DELETE FROM jobs WHERE id = ?", row)
    return len(found)


def held(database: Database, job_id: str) -> int | None:
    """Return the amount of a job's open hold."""
    row = database.row("SELECT amount FROM holds WHERE request_id = ?", (job_id,))
    return None if row is None else int(row[0])


def under_way(database: Database) -> list[Job]:
    """Return every open job."""
    return [_job(row) for row in database.rows(f"SELECT {_COLUMNS} FROM jobs WHERE {_OPEN} ORDER BY id")]


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(Job.__slots__, row, strict=True))
    return Job(**(values | {"state": JobState(values["state"])}))


def _storable(value: Any) -> Any:
    return clean_text(value, TEXT_CHARS) if isinstance(value, str) and not value.startswith(("{", "[")) else value
