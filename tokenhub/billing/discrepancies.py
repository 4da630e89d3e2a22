"""What is said when the books do not add up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A statement that does not hold, of one row."""

    invariant: str
    subject: str
    """The row, such as ``lot 5``."""
    message: str


def differences(
    invariant: str, subject: str, pairs: Mapping[str, tuple[int | str | None, int | str | None]]
) -> Iterator[Discrepancy]:
    """Return a discrepancy for each pair of what a row says and what it should say that are not the same."""
    for what, (said, summed) in pairs.items():
        if said != summed:
            yield Discrepancy(invariant, subject, f"{what} differ: {said} and {summed}")
