"""The two texts of a decision: the record that is kept, and the header's short form. Both are bounded."""

import json

import pytest

from tokenhub.call import Call, Capability
from tokenhub.catalog import load, resolve
from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Credential
from tokenhub.catalog.resolve import Scope
from tokenhub.routing import preferences, route
from tokenhub.routing.boundaries import Scoped
from tokenhub.routing.decision import STORED_CHARS, Decision
from tokenhub.routing.short import MOST_CHARS, short
from tokenhub.routing.standing import WELL, Standing
from tokenhub.routing.survey import survey

DOWN = Standing(False, "circuit_open", 1_700_000_000_000)


class FourthIsDown:
    """An availability in which the credential with number 4 meets an open circuit."""

    def state(self, deployment_id: str, credential_id: int, now_ms: int) -> Standing:
        return DOWN if credential_id == 4 else WELL


def decision(denied: int, *, each: int = 1) -> Decision:
    """Plan for a model in four regions and as many denied ones as told, each denied one with ``each`` credentials."""
    names = [f"region-{number}" for number in range(1, 5 + denied)]
    regions = [
        {"id": name, "base_url": "https://maker.example/v1", "data_region": "us" if place < 4 else "cn"}
        for place, name in enumerate(names)
    ]
    offering = {"provider": "maker", "regions": names, "upstream_id": "m", "price": {"input": "1", "output": "2"}}
    catalog = load.load(
        [
            Override("provider", "maker", {"name": "Maker", "regions": regions}),
            Override("model", "model", {"offerings": [offering]}),
        ]
    )
    held = [Credential(place, "maker", name, "", "secret") for place, name in enumerate(names[:4], 1)]
    held += [Credential(100 + n, "maker", name, "", "secret") for n, name in enumerate(names[4:] * each)]
    rule = Scoped("account", "7", preferences.parse({"deny_regions": ["cn"], "max_attempts": 2}))
    found = survey(resolve.resolve(catalog, "model", None, held), (rule,), Scope())
    call = Call(Capability.CHAT, "model")
    return route.plan(call, [found], availability=FourthIsDown(), seed=b"one", now_ms=0, max_attempts=3).decision


def test_the_record_says_of_each_deployment_what_became_of_it_and_why() -> None:
    record = json.loads(decision(1).dump())
    assert {name: record[name] for name in record if name != "d"} == {
        "v": 1, "asked": "model", "models": ["model"], "by": "session", "max": 2, "why_max": "account",
    }  # fmt: skip
    first, second, spare, away, out = record["d"]
    assert [(one["v"], one.get("n")) for one in (first, second, spare)] == [("try", 1), ("try", 2), ("spare", None)]
    assert 0 < first["s"] <= second["s"] <= spare["s"]
    assert (away["v"], away["code"], away["at"]) == ("unavailable", "circuit_open", 1_700_000_000_000)
    assert out == {
        "id": "maker/model@region-5#100", "v": "excluded", "code": "region_denied", "scope": "account", "sub": "7",
        "why": "runs in cn; denied: cn",
    }  # fmt: skip


def test_the_short_form_names_each_place_once_with_its_reason() -> None:
    told = dict(part.split("=", 1) for part in short(decision(1, each=2)).split("; "))
    assert told.keys() == {"by", "max", "because", "try", "spare", "unavailable", "excluded"}
    assert (told["by"], told["max"], told["because"]) == ("session", "2", "account")
    places = {*told["try"].split(","), told["spare"]}
    assert places == {f"maker/model@region-{number}" for number in (1, 2, 3)}
    assert told["unavailable"] == "maker/model@region-4:circuit_open"
    assert told["excluded"] == "maker/model@region-5:region_denied"


@pytest.mark.parametrize("count", [0, 10, 18, 25, 60, 500])
def test_both_texts_are_bounded_and_keep_what_is_tried(count: int) -> None:
    many = decision(count)
    text = many.dump()
    record = json.loads(text)
    assert len(text) <= STORED_CHARS
    assert len(record["d"]) + record.get("more", 0) == 4 + count
    assert [one["id"] for one in record["d"]][:4] == [one.id for one in many.considered][:4]
    told = short(many)
    assert len(told) <= MOST_CHARS
    assert told.isascii()
    assert told.isprintable()
    tried = ",".join(one.id.rpartition("#")[0] for one in many.considered if one.verdict == "try")
    assert f"try={tried};" in told
    named = told.partition("excluded=")[2].split(",") if count else []
    left_out = int(named.pop()) if named and named[-1].startswith("+") else 0
    assert len(named) + left_out == count
