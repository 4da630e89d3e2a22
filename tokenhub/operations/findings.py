"""What one check of the check-up has found."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """It works, but look at it."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found. ``remedy`` says what to do; it is empty when all is well."""

    check: str
    health: Health
    message: str
    remedy: str = ""
