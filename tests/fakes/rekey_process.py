"""What ``tokenhub rekey`` does, as a process of its own (``tests/forked.py``)."""

from tokenhub import failpoints, paths
from tokenhub.operations import master_key


def replace(lost: bool) -> None:
    master_key.replace(paths.home(), new_key=None, lost=lost)


def replace_and_wait() -> None:
    """The same; it says when everything is sealed anew, and waits for a line before the new key takes its place."""

    def hit(name: str) -> None:
        if name == "rekey.sealed":
            print(name, flush=True)
            input()

    failpoints.hit = hit
    replace(False)
