"""Run the benchmark and print its tables: ``make bench``, or ``python -m bench --help``."""

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import measure, planning
from bench.targets import BenchError, Target, TokenHub, Workshop, end

HERE = Path(__file__).resolve().parent
BODY_BYTES = 2000
WARM_S = 1.5
STARTS = 10
MEMORY_STEPS = (0.1, 0.4, 0.5)
"""The parts of the long run after which memory is read."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load."""

    name: str
    title: str
    connections: int = 32
    model: str = "plain"
    stream: bool = False
    dialect: str = "chat"
    """What the client speaks: a key of DIALECTS."""
    rate: float = 0
    targets: tuple[str, ...] = ("baseline", "tokenhub")


SCENARIOS = (
    Scenario("plain", "whole replies, 32 connections"),
    Scenario("rate", "whole replies, 50 requests/s", rate=50, targets=("upstream", "baseline", "tokenhub")),
    Scenario("stream", "streams of 200 chunks, written at once, 32 connections", stream=True),
    Scenario("paced", "streams of 200 chunks, 10 ms apart, 32 at once", model="paced", stream=True),
    Scenario("translated", "the same streams at once, Anthropic's dialect upstream", model="translated", stream=True, targets=("tokenhub",)),
    Scenario("messages", "the same streams at once, read by a client of Anthropic's Messages", dialect="messages", stream=True, targets=("tokenhub",)),
    Scenario("responses", "the same streams at once, read by a client of OpenAI's Responses", dialect="responses", stream=True, targets=("tokenhub",)),
)  # fmt: skip


def as_chat(asked: Row) -> Row:
    """Return a chat request as it is."""
    return asked


def as_messages(asked: Row) -> Row:
    """Return a chat request in Anthropic's form."""
    system, *turns = asked["messages"]
    rest = {name: asked[name] for name in ("model", "temperature", "max_tokens", "stream")}
    return rest | {"system": system["content"], "messages": turns}


def as_response(asked: Row) -> Row:
    """Return a chat request in the form of OpenAI's Responses."""
    system, *turns = asked["messages"]
    rest = {name: asked[name] for name in ("model", "temperature", "stream")}
    return rest | {"max_output_tokens": asked["max_tokens"], "instructions": system["content"], "input": turns}


DIALECTS: Mapping[str, tuple[str, Callable[[Row], Row]]] = {
    "chat": ("/v1/chat/completions", as_chat),
    "messages": ("/v1/messages", as_messages),
    "responses": ("/v1/responses", as_response),
}
"""Where a client of a dialect asks, and how it says what a chat request says."""


def body(scenario: Scenario) -> bytes:
    """Return a request of about BODY_BYTES in the dialect of its client: instructions and some turns."""
    line = "Please check once more whether the second parcel of order 20417 has left the warehouse, and tell me when. "
    asked: dict[str, Any] = {
        "model": scenario.model,
        "messages": [{"role": "system", "content": "You answer customers of a shop, briefly and in their language."}],
        "temperature": 0.7,
        "max_tokens": 512,
    }
    if scenario.stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    while (missing := BODY_BYTES - len(json.dumps(asked))) > 60:
        role = "assistant" if asked["messages"][-1]["role"] == "user" else "user"
        asked["messages"].append({"role": role, "content": line[: max(1, missing - 40)]})
    _, render = DIALECTS[scenario.dialect]
    return json.dumps(render(asked)).encode()


class Bench:
    """The targets, running, and what was measured on them."""

    def __init__(self, workshop: Workshop, chosen: argparse.Namespace) -> None:
        self.workshop, self.chosen = workshop, chosen
        self.rows: list[Row] = []
        self.targets: dict[str, Target] = {}
        self.hub: TokenHub | None = None
        upstream = workshop.module("upstream", core=workshop.load_core)
        self.upstream = f"http://127.0.0.1:{upstream.port}"
        self.targets["upstream"] = upstream

    def start(self, names: Iterable[str], profile: Path | None = None) -> None:
        """Start the gateways of these names."""
        if "baseline" in names:
            core = self.workshop.gateway_core
            self.targets["baseline"] = self.workshop.module("baseline", "--upstream", self.upstream, core=core)
        if "tokenhub" in names:
            self.hub = TokenHub(self.workshop, self.upstream, dict(pair.split("=", 1) for pair in self.chosen.setting))
            self.targets["tokenhub"] = self.hub.serve(profile=profile)

    def load(self, target: Target, scenario: Scenario, *, seconds: float, requests: int = 0) -> Row:
        """Put one stretch of load on a target and return what it cost."""
        file = self.workshop.folder / f"{scenario.name}.json"
        file.write_bytes(body(scenario))
        command = [sys.executable, "-m", "bench.load", "--port", str(target.port), "--body", str(file)]
        command += ["--connections", str(scenario.connections), "--seconds", str(seconds), "--rate", str(scenario.rate)]
        command += ["--requests", str(requests), "--path", DIALECTS[scenario.dialect][0]]
        for header in target.headers:
            command += ["--header", header]
        before = measure.cpu(target.process.pid)
        spawned = self.workshop.spawn("load", command, core=self.workshop.load_core)
        spawned.process.wait(seconds + 120)
        spent_s = measure.cpu(target.process.pid).since(before)
        self.workshop.processes.remove(spawned.process)
        if spawned.process.returncode:
            raise BenchError(f"the load client failed on {target.name}:\n{spawned.last_words()}")
        row: Row = json.loads(spawned.last_words().splitlines()[-1])
        if not row["answers"] or row["errors"]:
            raise BenchError(f"{target.name}, {scenario.name}: {row['errors']} errors: {row['why']}")
        return row | {
            "target": target.name,
            "scenario": scenario.name,
            "cpu_us": spent_s / row["answers"] * 1e6,
            "chunk_cpu_us": spent_s / row["events"] * 1e6 if row["events"] else 0.0,
            "core_use": spent_s / row["elapsed_s"],
            "resident_mb": measure.resident_mb(target.process.pid),
        }

    def run(self, scenarios: Sequence[Scenario]) -> None:
        """Run each scenario on each of its targets in turn, round by round, so that what disturbs one disturbs all."""
        for scenario in scenarios:
            targets = [self.targets[name] for name in scenario.targets if name in self.targets]
            for target in targets:
                self.load(target, scenario, seconds=WARM_S)
            if self.chosen.profile:
                os.kill(self.targets["tokenhub"].process.pid, signal.SIGUSR1)
            for number in range(self.chosen.rounds):
                for target in targets:
                    row = self.load(target, scenario, seconds=self.chosen.seconds) | {"round": number}
                    self.rows.append(row)
                    say(f"{scenario.name} {target.name} #{number}: {row['cpu_us']:.0f} us, {row['per_second']:.0f}/s")

    def memory(self, requests: int) -> list[tuple[int, float]]:
        """Return (requests so far, memory in MB) along one long run on TokenHub."""
        target, done = self.targets["tokenhub"], 0
        found = [(0, measure.resident_mb(target.process.pid))]
        for part in MEMORY_STEPS:
            row = self.load(target, SCENARIOS[0], seconds=600, requests=int(requests * part))
            done += row["answers"]
            found.append((done, row["resident_mb"]))
            say(f"memory after {done} requests: {row['resident_mb']:.1f} MB")
        return found

    def starts(self) -> dict[str, list[float]]:
        """Return the seconds that short commands take, each in a process of its own."""
        assert self.hub is not None
        hub = self.hub
        commands = {
            "tokenhub --help": ("--help",),
            "tokenhub keys create": ("keys", "create", "--account", "bench", "--json"),
        }
        return {name: [timed(partial(hub.run, *one)) for _ in range(STARTS)] for name, one in commands.items()}


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(text: str) -> None:
    """Show progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def spread(values: Sequence[float], form: str = "{:.1f}") -> str:
    """Render the median, and the least and the greatest where there are several."""
    middle = form.format(statistics.median(values))
    return f"{middle} ({form.format(min(values))}-{form.format(max(values))})" if len(values) > 1 else middle


def detail(rows: Sequence[Row]) -> str:
    """Render all that was measured, by scenario and target."""
    head = "| scenario | target | CPU us/request | CPU us/chunk | requests/s | p50 ms | p99 ms | chunk p50/p99 ms | core | MB |"
    lines = [head, "|" + "---|" * 10]
    for name, target in dict.fromkeys((row["scenario"], row["target"]) for row in rows):
        some = [row for row in rows if (row["scenario"], row["target"]) == (name, target)]

        def of(field: str, scale: float = 1, some: Sequence[Row] = some) -> list[float]:
            return [row[field] * scale for row in some]

        streamed = some[0]["events"] > 0
        cells = [
            name,
            target,
            spread(of("cpu_us"), "{:.0f}"),
            spread(of("chunk_cpu_us"), "{:.2f}") if streamed else "",
            spread(of("per_second"), "{:.0f}"),
            spread(of("latency_p50_us", 1e-3), "{:.2f}"),
            spread(of("latency_p99_us", 1e-3), "{:.2f}"),
            "/".join(f"{statistics.median(of(f'chunk_p{part}_us', 1e-3)):.2f}" for part in (50, 99))
            if of("chunk_p50_us")[0]
            else "",
            f"{statistics.median(of('core_use')):.0%}",
            f"{statistics.median(of('resident_mb')):.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdicts(
    rows: Sequence[Row], memory: Sequence[tuple[int, float]], starts: dict[str, list[float]], plan_us: float
) -> str:
    """Render the promised figures: measured, promised, kept or not."""

    def median(scenario: str, target: str, field: str) -> float | None:
        values = [row[field] for row in rows if (row["scenario"], row["target"]) == (scenario, target)]
        return statistics.median(values) if values else None

    def pair(scenario: str, field: str, base: str | None = None) -> tuple[float, float] | None:
        ours, theirs = median(scenario, "tokenhub", field), median(base or scenario, "baseline", field)
        return (ours, theirs) if ours is not None and theirs is not None else None

    lines = ["| figure | baseline | TokenHub | measured | promised | |", "|---|---|---|---|---|---|"]

    def add(figure: str, theirs: str, ours: str, measured: str, promised: str, kept: bool) -> None:
        lines.append(f"| {figure} | {theirs} | {ours} | {measured} | {promised} | {'kept' if kept else 'MISSED'} |")

    for figure, scenario, field, base, limit in (
        ("CPU us per request, 32 connections", "plain", "cpu_us", None, 1.5),
        ("CPU us per chunk, passed through", "stream", "chunk_cpu_us", None, 1.5),
        ("CPU us per chunk, translated", "translated", "chunk_cpu_us", "stream", 3.0),
        ("CPU us per chunk, for a client of Messages", "messages", "chunk_cpu_us", "stream", 3.0),
        ("CPU us per chunk, for a client of Responses", "responses", "chunk_cpu_us", "stream", 3.0),
    ):
        if (found := pair(scenario, field, base)) is not None:
            ratio = found[0] / found[1]
            add(figure, f"{found[1]:.2f}", f"{found[0]:.2f}", f"{ratio:.2f} x", f"<= {limit} x", ratio <= limit)
    for part, limit in ((50, 2.0), (99, 10.0)):
        if (found := pair("rate", f"latency_p{part}_us")) is not None:
            added = (found[0] - found[1]) / 1000
            figure = f"latency p{part} ms at 50 requests/s"
            add(
                figure,
                f"{found[1] / 1e3:.2f}",
                f"{found[0] / 1e3:.2f}",
                f"+{added:.2f} ms",
                f"<= +{limit:.0f} ms",
                added <= limit,
            )
    add(
        "CPU us of planning, 8 deployments and a boundary",
        "",
        f"{plan_us:.1f}",
        f"{plan_us:.1f} us",
        "<= 25 us",
        plan_us <= 25,
    )
    if memory:
        course = ", ".join(f"{mb:.0f} after {done}" for done, mb in memory)
        add("memory in MB", "", course, f"{memory[-1][1]:.0f} MB", "<= 80 MB", memory[-1][1] <= 80)
    for command, limit in (("tokenhub --help", 0.3), ("tokenhub keys create", 0.5)):
        if command in starts:
            middle = statistics.median(starts[command])
            add(command, "", spread(starts[command], "{:.2f}"), f"{middle:.2f} s", f"<= {limit} s", middle <= limit)
    return "\n".join(lines)


def machine() -> str:
    """Say what this ran on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, commit {commit.stdout.strip() or 'none'}"
    )


def cores() -> tuple[int | None, int | None]:
    """Return a core for the gateways and another for upstream and load; none where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    names = ", ".join(scenario.name for scenario in SCENARIOS)
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="CPU per request and latency beside a bare pass-through."
    )
    parser.add_argument("--only", default="", metavar="A,B", help=f"of these scenarios: {names}")
    parser.add_argument("--targets", default="baseline,tokenhub", metavar="A,B")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each round")
    parser.add_argument("--memory", type=int, default=100_000, metavar="N", help="requests of the long run; 0: none")
    parser.add_argument("--no-starts", action="store_true", help="do not time short commands")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE", help="an environment variable for TokenHub"
    )
    parser.add_argument(
        "--profile", action="store_true", help="sample TokenHub and say where its CPU time goes; not for comparison"
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables, and keep every row in bench/out."""
    chosen = arguments()
    wanted = [scenario for scenario in SCENARIOS if not chosen.only or scenario.name in chosen.only.split(",")]
    names = ["tokenhub"] if chosen.profile else chosen.targets.split(",")
    out = HERE / "out" / time.strftime("%Y%m%d-%H%M%S")
    out.mkdir(parents=True)
    gateway_core, load_core = cores()
    with (
        tempfile.TemporaryDirectory(prefix="tokenhub-bench-") as folder,
        Workshop(Path(folder), gateway_core, load_core) as workshop,
    ):
        bench = Bench(workshop, chosen)
        bench.start(names, out / "profile.collapsed" if chosen.profile else None)
        bench.run(wanted)
        if chosen.profile:
            end(bench.targets["tokenhub"].process)
            print((out / "profile.txt").read_text(encoding="utf-8") + f"stacks: {out / 'profile.collapsed'}")
            return
        ours = "tokenhub" in bench.targets
        memory = bench.memory(chosen.memory) if ours and chosen.memory else []
        starts = bench.starts() if ours and not chosen.no_starts else {}
    plan_us = next(iter(planning.measured().values()))
    (out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bench.rows), encoding="utf-8")
    report = f"{machine()}\n\n{detail(bench.rows)}\n\n{verdicts(bench.rows, memory, starts, plan_us)}\n"
    (out / "report.md").write_text(report, encoding="utf-8")
    print(f"\n{report}\nkept in {out}")


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"bench: {error}")
