"""Writes ``docs/dialects.md`` from the matrix: ``python -m tests.dialects.table``."""

from pathlib import Path

from tests.dialects.matrix import KINDS, NATIVE, UNSEALED, Cell, cells
from tests.dialects.rig import CLIENTS, UPSTREAMS

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"

HEAD = """\
# Dialects

Written by `python -m tests.dialects.table` from the tests in `tests/dialects`; a test fails when it is not what they say.

A client speaks the API it was written for, an upstream speaks its own, and any model answers to any client. Where both speak the same, bodies and
frames pass as they are, unknown fields included, but for the model's name and the one object that shows usage and cost. Where they do not, the
conversation is translated on the way there and the reply on the way back, chunk by chunk. Inside, a call is OpenAI's chat completions.
"""

PROVEN = """\
Each mark is a test of that name, `tests/dialects/test_matrix.py::test_a_cell_of_the_matrix[{example}]`: one request or more through a running
gateway. The upstream must be asked what the client meant, the client must hear what the upstream said, and the ledger must have usage times price
and the fee on it, to the nano-dollar, within the hold; what failed is free.
"""

OPENAI = """\
OpenAI speaks two of these. A client of Responses is passed through to Responses; all others reach OpenAI on Responses where Chat Completions refuses
the call (function tools with a model that reasons, from gpt-5.4 on), else on Chat Completions.
"""

ALSO = """\
## What else is proven of every pair

| | test |
| --- | --- |
| Any conversation, rendered by the client and read by the upstream, is the same conversation; any reply likewise, and any stream wherever it is cut | `test_round_trips.py` |
| Fields nobody knows survive where both speak the same; of a stream only the frame with the bill changes | `test_round_trips.py` |
| An upstream's proof of a thought comes back to it through every client, whether the thought was shown or not, and goes to no other upstream | `test_seals.py` |
| Replies that a filter ate or that are empty are free and told in the client's word; whole replies to streamed requests, calls in turns, thoughts between texts | `test_odd_replies.py` |
| Tool choice, one call at a time, output schema, stops, temperature, effort arrive in the upstream's words | `test_options.py` |
| When a provider fails, another one answers in a dialect of its own, and the client does not notice | `test_failover.py` |
| The hold covers the whole prompt, attachments and returning thoughts included; a limit set by a small balance reaches the upstream; replies that nobody counted are charged by estimate and say so; receipts and books add up | `test_money.py` |
| What the gateway itself refuses has each dialect's own form | `test_own_errors.py` |
| A silent upstream is bridged in a way that the dialect knows, and may still fail; who leaves is charged for what was made | `test_silence.py` |
| Replies and streams in OpenAI's dialects fit OpenAI's own description, with the nulls and gaps that its real traffic has | `test_schemas.py` |

The clients and upstreams of these tests are written by the APIs' documentation, with nothing of TokenHub in them, and prove themselves on each
other (`test_dialects_agree.py`). Real clients are run in `tests/clients`, recorded traffic of real providers in `tests/scenarios`.
"""


def page() -> str:
    """Return the page as it must be."""
    return "\n".join([HEAD, *_matrix(), PROVEN.format(example=next(cells()).id), *_kinds(), ALSO])


def _matrix() -> list[str]:
    lines = [
        f"| client speaks | upstream speaks | its bodies | {' | '.join(KINDS)} |",
        "|" + " --- |" * (3 + len(KINDS)),
    ]
    for inbound, client in CLIENTS.items():
        for upstream, other in UPSTREAMS.items():
            way = "pass" if (inbound, upstream) in NATIVE else "are translated"
            marks = [_mark(Cell(inbound, upstream, kind)) for kind in KINDS]
            lines.append(f"| {client.TITLE} | {other.TITLE} | {way} | {' | '.join(marks)} |")
    return [*lines, ""]


def _mark(cell: Cell) -> str:
    return "yes ¹" if cell.kind == "reasoning" and not cell.keeps_seal else "yes"


def _kinds() -> list[str]:
    lines = ["| | what is played |", "| --- | --- |"]
    lines += [f"| {kind} | {played} |" for kind, played in KINDS.items()]
    why = "; ".join(f"{UPSTREAMS[name].TITLE} {reason}" for name, reason in UNSEALED.items())
    return [*lines, "", f"¹ Thoughts are shown; nothing has to come back: {why}.", "", OPENAI]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
