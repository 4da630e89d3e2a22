"""Values made on every request's way: frozen for the type checker, plain at run time.

A frozen dataclass assigns each field through ``object.__setattr__``, which makes a record of
twenty fields five times as dear to build (4 µs instead of 0.8). A gateway builds a dozen of
them per request, so those are frozen by the type checker alone, which the build runs.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a slotted dataclass that no checked code can change; it has no hash."""
    return dataclass(slots=True)(cls)
