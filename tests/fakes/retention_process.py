"""What a gateway does with days that are over, as a process of its own (``tests/forked.py``)."""

from tokenhub import paths
from tokenhub.operations import retention
from tokenhub.operations.hub import Hub


def work(now_ms: int) -> None:
    """Do all that is due."""
    with Hub.open(paths.home()) as hub:
        while retention.work(hub, now_ms).more:
            pass
