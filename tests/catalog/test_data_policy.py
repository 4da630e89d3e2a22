"""What holds for the data of requests, and who says so: fail closed wherever nobody does (T104)."""

import re
from datetime import date
from pathlib import Path

import pytest

from tokenhub.catalog import data_policy, load
from tokenhub.catalog.data_policy import DataPolicy
from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Credential, Provider, Region
from tokenhub.errors import SetupError

CATALOG = load.load()
ROUTING = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")
OWN = "https://api.one.example/v1"


def found(
    own: str | None = None, at: str | None = None, stated: str = "unknown", url: str = OWN, base_url: str | None = None
) -> DataPolicy:
    region = Region("eu", url, "eu", data_policy=at)
    provider = Provider("one", "One", "openai_compatible", {"eu": region}, data_policy=stated)
    return data_policy.of(provider, region, Credential(1, "one", "eu", "", "s", base_url, data_policy=own))


@pytest.mark.parametrize(
    ("own", "at", "stated", "policy", "by"),
    [
        (None, None, "unknown", "unknown", "nobody"),
        (None, None, "no_training", "no_training", "provider"),
        (None, "no_retention", "no_training", "no_retention", "provider"),
        (None, "unknown", "no_training", "unknown", "nobody"),
        ("no_retention", None, "unknown", "no_retention", "operator"),
        ("no_retention", "unknown", "no_training", "no_retention", "operator"),
        ("unknown", "no_retention", "no_training", "unknown", "operator"),
    ],
)
def test_t104_the_operators_word_goes_before_the_regions_and_that_before_the_providers(
    own: str | None, at: str | None, stated: str, policy: str, by: str
) -> None:
    assert found(own, at, stated) == DataPolicy(policy, by)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "base_url", "is_own"),
    [
        (OWN, None, True),
        (OWN, "https://api.one.example/other", True),
        (OWN, "https://API.ONE.example:8443/v1", True),
        (OWN, "https://proxy.example/v1", False),
        (OWN, "https://api.one.example.evil.example/v1", False),
        (OWN, "https://evil.example/api.one.example", False),
        (OWN, "https://apixone.example/v1", False),
        ("https://{Space}.eu.one.example/v1", "https://ws-17.eu.one.example/v1", True),
        ("https://{Space}.eu.one.example/v1", "https://ws-17.us.one.example/v1", False),
        ("https://{Space}.eu.one.example/v1", "https://a.b.eu.one.example/v1", False),
        ("http://127.0.0.1:0/v1", "http://127.0.0.1:43117/v1", True),
    ],
)
def test_t104_a_provider_states_nothing_of_somebody_elses_host(url: str, base_url: str | None, is_own: bool) -> None:
    held = found(stated="no_training", url=url, base_url=base_url)
    assert held == (DataPolicy("no_training", "provider") if is_own else DataPolicy("unknown", "nobody"))
    assert found("no_retention", url=url, base_url=base_url) == DataPolicy("no_retention", "operator")


@pytest.mark.parametrize(
    ("policy", "wanted", "is_covered"),
    [
        ("unknown", "no_training", False),
        ("unknown", "no_retention", False),
        ("no_training", "no_training", True),
        ("no_training", "no_retention", False),
        ("no_retention", "no_training", True),
        ("no_retention", "no_retention", True),
    ],
)
def test_who_keeps_nothing_trains_on_nothing(policy: str, wanted: str, is_covered: bool) -> None:
    assert DataPolicy(policy, "provider").covers(wanted) is is_covered


# The shipped data ----------------------------------------------------------------------------------


def stated() -> dict[str, tuple[str, str, str]]:
    """What the shipped catalogue states, by ``provider`` or ``provider@region``."""
    rows: dict[str, tuple[str, str, str]] = {}
    for one in CATALOG.providers.values():
        rows[one.id] = (one.data_policy, one.data_policy_source, one.data_policy_date)
        for region in one.regions.values():
            if region.data_policy is not None:
                at = (region.data_policy, region.data_policy_source, region.data_policy_date)
                rows[f"{one.id}@{region.id}"] = at
    return rows


def test_t104_a_shipped_statement_names_a_page_and_the_day_it_was_read() -> None:
    known = {name: row for name, row in stated().items() if row[0] != "unknown"}
    assert {"openai", "anthropic", "google", "local", "moonshot@intl"} <= known.keys()
    for name, (_, source, day) in known.items():
        assert date.fromisoformat(day) <= date(2026, 12, 31), name
        assert source.startswith("https://") or name == "local", name
    assert {name for name, row in known.items() if row[0] == "no_retention"} == {"local"}


def test_t104_a_provider_that_says_less_somewhere_is_not_believed_there() -> None:
    assert stated()["alibaba"][0] == "no_training"
    assert stated()["alibaba@cn-beijing"][0] == "unknown"
    assert stated()["moonshot"][0] == "unknown"
    for silent in ("deepseek", "zhipu", "openrouter", "siliconflow", "volcengine", "ollama", "vllm", "cohere"):
        assert stated()[silent] == ("unknown", "", "")


def test_the_page_about_routing_lists_what_the_catalogue_states() -> None:
    section = ROUTING.partition("### What providers state")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \| `([a-z_]+)` \| ([^|]*) \| ([^|]*) ?\|$", section, re.MULTILINE)
    told = {name: row for names, *row in rows for name in names.replace("`", "").split(", ")}
    data = stated()
    assert told.keys() == data.keys()
    for name, (policy, source, day) in data.items():
        written, words, read = told[name]
        assert (written, read.strip()) == (policy, day), name
        assert source.startswith("runs on this machine") or source in words, name


# The operator's own providers -----------------------------------------------------------------------

STATED = {"data_policy": "no_training", "data_policy_source": "the contract", "data_policy_date": "2026-11-22"}
PLACE = {"id": "eu", "base_url": "https://x.example/v1"}


def own_provider(statement: dict[str, str], at: dict[str, str]) -> Provider:
    table = {"name": "X", "regions": [{**PLACE, **at}], **statement}
    return load.load([Override("provider", "x", table)]).providers["x"]


def test_a_region_states_beside_its_provider() -> None:
    made = own_provider(STATED, {"data_policy": "unknown"})
    assert (made.data_policy, made.regions["eu"].data_policy) == ("no_training", "unknown")
    assert own_provider(STATED, {}).regions["eu"].data_policy is None


@pytest.mark.parametrize("missing", ["data_policy_source", "data_policy_date"])
@pytest.mark.parametrize("place", ["provider", "region"])
def test_t104_a_statement_that_nobody_can_look_up_is_refused(missing: str, place: str) -> None:
    statement = {name: text for name, text in STATED.items() if name != missing}
    with pytest.raises(SetupError, match="data_policy needs data_policy_source and data_policy_date"):
        own_provider(*((statement, {}) if place == "provider" else ({}, statement)))


def test_a_policy_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SetupError, match="data_policy is 'never'"):
        own_provider({}, {**STATED, "data_policy": "never"})
