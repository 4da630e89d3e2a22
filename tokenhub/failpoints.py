"""Places where a test can kill the process: how the crash proofs reach every step of a request.

``TOKENHUB_FAILPOINT=name[:n]`` in the environment makes the n-th passage (default the first)
of that place end the process with SIGKILL, as a power cut or ``kill -9`` would. Unset, a
passage costs one comparison.
"""

import os
import signal

FAILPOINTS = (
    "hold.before",
    "hold.committed",
    "attempt.sent",
    "relay.first",
    "settle.before",
    "settle.committed",
    "finish.before",
    "finish.sent",
    "batch.decided",
    "batch.written",
    "batch.committed",
)
"""Every place that a request passes, in that order."""

PAYMENT_FAILPOINTS = (
    "topup.intent",
    "topup.posted",
    "topup.read",
    "topup.crediting",
    "topup.credited",
    "topup.stored",
    "sweep.due",
    "sweep.stored",
    "sweep.advanced",
    "objects.compared",
    "topup.withdrawn",
    "event.stored",
    "event.claimed",
    "event.processed",
    "topup.kept_card",
    "recharge.claiming",
    "recharge.claimed",
    "recharge.posted",
    "recharge.ended",
    "refund.taking",
    "refund.taken",
    "refund.posted",
    "refund.recorded",
    "refund.found",
    "refund.clawed",
    "refund.clawing",
    "refund.failed",
    "dispute.read",
    "dispute.recording",
    "dispute.recorded",
)
"""Every place between two steps of a payment, its refund, its dispute; in the order in which an account's life passes them first."""

BOOKS_FAILPOINTS = ("day.added", "day.drafted", "day.closed", "purge.begun", "purge.deleted", "purge.scrubbed")
"""Every place between two steps of closing a day and deleting its requests."""

JOB_FAILPOINTS = (
    "job.begun",
    "job.created",
    "job.adopting",
    "job.adopted",
    "job.answered",
    "job.polled",
    "job.ending",
    "job.ended",
    "job.end_committed",
)
"""Every place between two steps of a video: the row, the provider's answer, the hold made its own, a look, the end."""

COPY_FAILPOINTS = ("copy.filled", "backup.checked", "backup.settings", "restore.checked", "restore.placed")
"""Every place between two steps of a backup, and of what makes a home of one."""

REKEY_FAILPOINTS = ("rekey.kept", "rekey.sealed")
"""Every place between two steps of giving an installation another master key."""

_name, _, _count = os.environ.get("TOKENHUB_FAILPOINT", "").partition(":")
_left = int(_count or 1)


def hit(name: str) -> None:
    """Pass the place of this name; does not return when the environment names it and its count is reached."""
    if name == _name:
        _passed()


def _passed() -> None:
    global _left
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
