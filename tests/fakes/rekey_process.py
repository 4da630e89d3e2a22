"""What ``tokenhub rekey`` does, as a process of its own (``tests/forked.py``)."""

from tokenhub import paths
from tokenhub.operations import master_key


def replace(lost: bool) -> None:
    master_key.replace(paths.home(), new_key=None, lost=lost)
