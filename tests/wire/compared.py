"""A text that counts how often it is compared: what is searched one by one shows, whatever the machine."""

from typing import ClassVar


class Compared(str):
    times: ClassVar[int] = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)
