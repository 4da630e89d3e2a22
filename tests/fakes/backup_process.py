"""What ``tokenhub backup`` and ``tokenhub restore`` do, as processes of their own (``tests/forked.py``)."""

from pathlib import Path

from tokenhub import paths
from tokenhub.operations import backups
from tokenhub.operations.hub import Hub


def back_up(place: Path, now_ms: int) -> None:
    with Hub.open(paths.home()) as hub:
        backups.back_up(hub, place, whole=False, now_ms=now_ms)


def restore(place: Path, master_key: Path, now_ms: int) -> None:
    backups.restore(paths.home(), place, master_key=master_key, now_ms=now_ms)
