"""Where a program's CPU time goes, by sampling it from the inside.

    python -m bench.sampler OUT -- serve --no-local …      runs `tokenhub serve …` and writes OUT when it ends

The processor's own timer interrupts the program after each millisecond of CPU time it has
used; the time that each thread has used since is charged to the stack it is on. OUT is in
the collapsed form that flame graph tools read (``a;b;c microseconds``); OUT with ``.txt``
lists the functions that took most, by themselves and with all they called. SIGUSR1 forgets
what was counted so far, so that starting and warming up can be left out. Costs 2 to 5 %.
"""

import importlib
import os
import signal
import sys
import sysconfig
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_S = 0.001
DEEPEST = 60
SHOWN = 40

_PREFIXES = sorted(
    {*sys.path, sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"]}, key=len, reverse=True
)


class Sampler:
    """Counts microseconds of CPU time by stack."""

    def __init__(self) -> None:
        self.stacks: Counter[tuple[str, ...]] = Counter()
        self.spent_ns: dict[int, int] = {}
        self.names: dict[tuple[str, str], str] = {}

    def begin(self) -> None:
        """Start the timer; only in the main thread, where Python runs signal handlers."""
        signal.signal(signal.SIGPROF, self.sample)
        signal.signal(signal.SIGUSR1, lambda *_: self.stacks.clear())
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def end(self) -> None:
        """Stop the timer."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def sample(self, _signal: int, interrupted: FrameType | None) -> None:
        """Charge each thread's time since the last sample to the stack it is on now."""
        frames = sys._current_frames()
        own = threading.get_ident()
        for thread in threading.enumerate():
            identity = thread.ident
            if identity is None or identity not in frames:
                continue
            try:
                now_ns = time.clock_gettime_ns(time.pthread_getcpuclockid(identity))
            except OSError:
                continue
            spent_ns = now_ns - self.spent_ns.get(identity, now_ns)
            self.spent_ns[identity] = now_ns
            if spent_ns >= 1000:
                frame = interrupted if identity == own else frames[identity]
                self.stacks[(thread.name, *self.stack(frame))] += spent_ns // 1000

    def stack(self, frame: FrameType | None) -> list[str]:
        found: list[str] = []
        while frame is not None and len(found) < DEEPEST:
            code = frame.f_code
            place = (code.co_filename, code.co_qualname)
            found.append(self.names.get(place) or self.name(place))
            frame = frame.f_back
        return found[::-1]

    def name(self, place: tuple[str, str]) -> str:
        file = place[0]
        for prefix in _PREFIXES:
            if prefix and file.startswith(prefix + os.sep):
                file = file[len(prefix) + 1 :]
                break
        return self.names.setdefault(place, f"{file}:{place[1]}")

    def write(self, out: Path) -> None:
        """Write the stacks, collapsed, and beside them a table of the functions that took most."""
        out.write_text(
            "".join(f"{';'.join(stack)} {us}\n" for stack, us in self.stacks.most_common()), encoding="utf-8"
        )
        out.with_suffix(".txt").write_text(self.table(), encoding="utf-8")

    def table(self) -> str:
        """Render the functions that took most."""
        alone: Counter[str] = Counter()
        together: Counter[str] = Counter()
        for stack, us in self.stacks.items():
            alone[stack[-1]] += us
            for name in set(stack):
                together[name] += us
        total = max(1, sum(self.stacks.values()))
        threads = Counter[str]()
        for stack, us in self.stacks.items():
            threads[stack[0]] += us
        shares = ", ".join(f"{name} {us / total:.0%}" for name, us in threads.most_common())
        lines = [f"{total / 1e6:.2f} s of CPU time in all: {shares}", "  self  total  function"]
        for name, us in alone.most_common(SHOWN):
            lines.append(f"{us / total:6.1%} {together[name] / total:6.1%}  {name}")
        return "\n".join(lines) + "\n"


def main() -> None:
    """Run TokenHub's program with the arguments after ``--`` and sample it until it ends."""
    out = Path(sys.argv[1])
    sys.argv = ["tokenhub", *sys.argv[3:]]
    sampler = Sampler()
    sampler.begin()
    try:
        program = importlib.import_module("tokenhub.cli.app")
        sys.exit(program.main())
    finally:
        sampler.end()
        sampler.write(out)


if __name__ == "__main__":
    main()
