"""What a plan sells binds: fee, limits and model names, at the next request after a change; an agreement goes before it."""

import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.fakes.upstream import (
    FakeUpstream,
    Received,
    Reply,
    WaitFor,
    json_reply,
    openai_chat,
    openai_stream,
    sse_reply,
)
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub.operations import accounts, keys, plans
from tokenhub.operations.keys import KeyTerms

MODEL = "gpt-4o-mini"
go = threading.Event()


def script(request: Received) -> Reply:
    if not request.json().get("stream"):
        return json_reply(openai_chat())
    return sse_reply([*openai_stream(["one"])[:1], WaitFor(go), *openai_stream(["one"])[1:]])


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway whose account has no agreement of its own."""
    go.clear()
    running = start_gateway(temporary_home(tmp_path_factory.mktemp("gateway")))
    own = {"key_rpm": None, "account_rpm": None, "concurrency": None, "fee_bp": None}
    accounts.change(running.hub, running.account_id, own)
    with FakeUpstream(script) as upstream:
        running.add_credential("openai", upstream.url)
        yield running
        go.set()
        running.stop()


def fees(answer: Answer) -> tuple[Decimal, Decimal, Decimal]:
    assert answer.status == 200, answer.body
    details = answer.json()["usage"]["cost_details"]
    return Decimal(details["model_fee"]), Decimal(details["service_fee"]), Decimal(details["total"])


def rate(answer: Answer) -> Decimal:
    model_fee, service_fee, total = fees(answer)
    assert total == model_fee + service_fee
    return service_fee / model_fee


def test_each_plan_charges_its_fee_and_a_change_binds_at_the_next_request(gateway: RunningGateway) -> None:
    for plan, expected in (("starter", "0.03"), ("pro", "0.02"), ("enterprise", "0.01")):
        accounts.change(gateway.hub, gateway.account_id, {"plan": plan})
        assert abs(rate(gateway.chat(MODEL)) - Decimal(expected)) < Decimal("0.0005")
    plans.change(gateway.hub, "enterprise", {"fee_bp": 10_000})
    assert rate(gateway.chat(MODEL)) == 1
    plans.change(gateway.hub, "enterprise", {"fee_bp": 0})
    assert rate(gateway.chat(MODEL)) == 0
    assert gateway.hub.database.rows("SELECT fee_bp FROM requests ORDER BY id") == [
        (300,),
        (200,),
        (100,),
        (10_000,),
        (0,),
    ]


def test_an_agreement_goes_before_the_plan_until_it_is_given_up(gateway: RunningGateway) -> None:
    accounts.change(gateway.hub, gateway.account_id, {"fee_bp": 0})
    assert rate(gateway.chat(MODEL)) == 0
    accounts.change(gateway.hub, gateway.account_id, {"plan": "pro"})
    assert rate(gateway.chat(MODEL)) == 0
    accounts.change(gateway.hub, gateway.account_id, {"fee_bp": None})
    assert abs(rate(gateway.chat(MODEL)) - Decimal("0.02")) < Decimal("0.0005")


def test_both_fees_stand_in_the_receipt_and_add_up(gateway: RunningGateway) -> None:
    answer = gateway.chat(MODEL)
    model_fee, service_fee, total = fees(answer)
    receipt = gateway.call("GET", f"/v1/generation?id={answer.headers['x-request-id']}").json()["data"]
    told = answer.json()["usage"]["cost_details"]
    for name in ("model_fee", "service_fee", "total"):
        assert receipt["cost_details"][name] == told[name]
    assert Decimal(receipt["cost_details"]["model_fee"]) == model_fee > 0
    assert Decimal(receipt["cost_details"]["service_fee"]) == service_fee > 0
    assert Decimal(receipt["cost_details"]["total"]) == total
    assert answer.headers["x-tokenhub-cost"] == receipt["cost_details"]["total"]


def test_limits_of_the_plan_bind_at_the_next_request(gateway: RunningGateway) -> None:
    assert gateway.call("GET", "/v1/key").json()["data"]["rate_limit"]["requests"] == 60
    plans.change(gateway.hub, "starter", {"key_rpm": 2})
    assert [gateway.chat(MODEL).status for _ in range(3)] == [200, 200, 429]
    plans.change(gateway.hub, "starter", {"key_rpm": 3})
    assert [gateway.chat(MODEL).status for _ in range(2)] == [200, 429]
    plans.change(gateway.hub, "starter", {"key_rpm": 100, "account_rpm": 4})
    refused = [gateway.chat(MODEL) for _ in range(2)][-1]
    assert (refused.status, refused.json()["error"]["metadata"]["scope"]) == (429, "account")
    accounts.change(gateway.hub, gateway.account_id, {"account_rpm": 5})
    assert [gateway.chat(MODEL).status for _ in range(2)] == [200, 429]


def test_concurrency_of_the_plan_binds_at_the_next_request(gateway: RunningGateway) -> None:
    plans.change(gateway.hub, "starter", {"concurrency": 1})
    held = threading.Thread(target=lambda: gateway.chat(MODEL, stream=True))
    held.start()
    for _ in range(500):
        if gateway.rows("SELECT 1 FROM holds"):
            break
        go.wait(0.01)
    refused = gateway.chat(MODEL)
    assert (refused.status, refused.json()["error"]["code"]) == (429, "too_many_concurrent")
    plans.change(gateway.hub, "starter", {"concurrency": 2})
    assert gateway.chat(MODEL).status == 200
    go.set()
    held.join(10)


def test_model_names_of_the_plan_are_there_at_the_next_request(gateway: RunningGateway) -> None:
    assert gateway.chat("starter/fast").status == 404
    plans.change(gateway.hub, "starter", {}, model_names={"starter/fast": (MODEL,)})
    assert gateway.chat("starter/fast").status == 200
    accounts.change(gateway.hub, gateway.account_id, {"plan": "pro"})
    assert gateway.chat("starter/fast").status == 404
    accounts.change(gateway.hub, gateway.account_id, {"plan": "starter"})
    plans.change(gateway.hub, "starter", {}, dropped_names=("starter/fast",))
    assert gateway.chat("starter/fast").status == 404


def test_a_key_may_be_given_less_than_the_plan(gateway: RunningGateway) -> None:
    narrow = keys.create(gateway.hub, gateway.account_id, KeyTerms(rpm=1)).secret
    bearer = {"Authorization": f"Bearer {narrow}"}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    assert [gateway.call("POST", "/v1/chat/completions", body, bearer).status for _ in range(2)] == [200, 429]
    assert gateway.chat(MODEL).status == 200
