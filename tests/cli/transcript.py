"""Plays a transcript: commands after ``$``, what they print below, messages on stderr after ``! ``.

A line after ``% `` says what happens at Stripe meanwhile (a fake one, which a transcript with such lines has): the
person pays the newest link, the operator refunds in the dashboard, a payer disputes.

What differs from run to run is written in a form of the same length, so that tables keep
their shape: the first key is ``th-aaa…``, the first id of a kind ``key_aaaa…``, the second
``key_bbbb…``; a moment is ``YYYY-MM-DD hh:mm:ss``. Such an id can be used in a later command.

    python -m tests.cli.transcript tests/cli/keys.txt        write a file anew from what is printed
"""

import io
import re
import shlex
import string
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from tests.fakes.stripe import FakeStripe
from tokenhub.cli import app

KEY = re.compile(r"th-[0-9A-Za-z]{43}|th-[0-9A-Za-z]{6}(?=…|\\u2026)")
ID = re.compile(
    r"\b(key|req|grant|inst|topup|refund)_([0-9a-z]{26,32})\b|\b(cs_test|pi|re|du)_([0-9A-Za-z]{14,60})(?![0-9A-Za-z])"
)
MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d(:\d\d)?( UTC|Z?)")
DAY = re.compile(r"\b\d{4}-\d\d-\d\d\b(?! ?[T\d])")
COMMAND = "$ "
HAPPENING = "% "


class Stage:
    """A home, and the names that a transcript gives to what is random in it."""

    def __init__(self, home: Path, stripe: FakeStripe | None = None) -> None:
        self.home = home
        self._stripe = stripe
        self._real: dict[str, str] = {}
        self._letters: dict[str, str] = {}

    def play(self, line: str) -> str:
        """Run one command line and return all it prints, as a transcript has it."""
        feed, _, rest = line.rpartition(" | ")
        words = [self._real.get(word, word) for word in shlex.split(rest)]
        assert words[0] == "tokenhub", line
        stdin = io.StringIO(" ".join(shlex.split(feed)[1:]) + "\n" if feed else "")
        out, err = io.StringIO(), io.StringIO()
        with patch.object(sys, "stdin", stdin), redirect_stdout(out), redirect_stderr(err):
            code = app.run(words[1:])
        lines = [f"! {text}" for text in err.getvalue().splitlines()] + out.getvalue().splitlines()
        return "".join(f"{self._told(text)}\n" for text in (*lines, *([f"[exit {code}]"] if code else ())))

    def happen(self, line: str) -> None:
        """Let something happen at Stripe to the newest top-up."""
        assert self._stripe is not None
        verb, *amount = line.split()
        minor = int(amount[0]) if amount else None
        if verb == "pay":
            self._stripe.pay(self._stripe.of("checkout.session")[0], amount=minor)
        else:
            payment = self._stripe.of("payment_intent")[0]
            {"refund": self._stripe.refund_in_dashboard, "dispute": self._stripe.dispute}[verb](payment, minor)

    def _told(self, text: str) -> str:
        text = text.replace(str(self.home), "HOME")
        text = KEY.sub(lambda found: "th-" + self._letter("th", found[0][3:9]) * (len(found[0]) - 3), text)
        text = ID.sub(self._id, text)
        text = MOMENT.sub(lambda found: f"YYYY-MM-DD{found[1]}hh:mm{':ss' if found[2] else ''}{found[3]}", text)
        return DAY.sub("YYYY-MM-DD", text).rstrip()

    def _id(self, found: re.Match[str]) -> str:
        kind, value = found[1] or found[3], found[2] or found[4]
        told = f"{kind}_{self._letter(kind, value) * len(value)}"
        self._real[told] = found[0]
        return told

    def _letter(self, kind: str, value: str) -> str:
        used = sum(name.startswith(f"{kind}:") for name in self._letters)
        return self._letters.setdefault(f"{kind}:{value}", string.ascii_lowercase[used])


def replay(text: str, home: Path) -> Iterator[str]:
    """Return the transcript as it reads when its commands are run again."""
    with stripe_of(text) as stripe:
        stage = Stage(home, stripe)
        for line in text.splitlines():
            if line.startswith(COMMAND):
                yield f"{line}\n" + stage.play(line.removeprefix(COMMAND))
            elif line.startswith(HAPPENING):
                stage.happen(line.removeprefix(HAPPENING))
                yield f"{line}\n"
            elif line.startswith("#"):
                yield f"{line}\n"


@contextmanager
def stripe_of(text: str) -> Iterator[FakeStripe | None]:
    """Run a fake Stripe for a transcript in which something happens there."""
    if f"\n{HAPPENING}" not in text:
        yield None
        return
    with FakeStripe.start() as stripe, patch.dict("os.environ", {"TOKENHUB_STRIPE_API_BASE": stripe.url}):
        yield stripe
        assert stripe.broken == []


def main() -> None:
    """Write transcripts anew."""
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", surroundings(Path(folder) / "home")):
            path = Path(name)
            path.write_text("".join(replay(path.read_text(encoding="utf-8"), Path(folder) / "home")), encoding="utf-8")


def surroundings(home: Path) -> dict[str, str]:
    """Return the environment that transcripts are played in."""
    return {
        "TOKENHUB_HOME": str(home),
        "TOKENHUB_LOCAL_ENABLED": "false",
        "TOKENHUB_DEBUG": "1",
        "COLUMNS": "100",
        "OPENAI_API_KEY": "sk-proj-aaaabbbbccccddddeeeeffff0000",
        "ANTHROPIC_API_KEY": "",
    }


if __name__ == "__main__":
    main()
