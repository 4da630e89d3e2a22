"""What changes the price in a request of Google's own API: left out and said so, or refused, in either spelling."""

from typing import Any

import pytest

from tokenhub.billing import features
from tokenhub.call import Wire
from tokenhub.errors import InvalidRequest
from tokenhub.wire.gemini.spelling import normalised

FUNCTIONS = {"functionDeclarations": [{"name": "f"}]}


def check(body: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    return features.check(normalised(body), Wire.GEMINI)


def test_what_has_no_price_rule_passes() -> None:
    body = {
        "contents": [],
        "generationConfig": {"thinkingConfig": {}, "responseModalities": ["text"], "future": 1},
        "safetySettings": [{"category": "x"}],
        "tools": [FUNCTIONS, {"computerUse": {"environment": "ENVIRONMENT_BROWSER"}}],
        "futureField": 1,
    }
    assert check(body) == (body, ())


@pytest.mark.parametrize("name", ["service_tier", "serviceTier", "store"])
def test_speed_and_storage_are_left_out(name: str) -> None:
    kept, said = check({"contents": [], name: "flex"})
    assert kept == {"contents": []}
    assert said == ("serviceTier" if name.startswith("service") else name,)


@pytest.mark.parametrize("name", ["routingConfig", "model_config", "modelSelectionConfig"])
def test_another_model_is_not_asked_for_by_the_way(name: str) -> None:
    kept, said = check({"generation_config": {name: {"autoMode": {}}, "topK": 1}})
    assert kept == {"generationConfig": {"topK": 1}}
    assert len(said) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"cached_content": "cachedContents/x"}, "cachedContent"),
        ({"generationConfig": {"responseModalities": ["AUDIO"]}}, "generationConfig.responseModalities"),
        ({"generationConfig": {"response_modalities": ["TEXT", "IMAGE"]}}, "generationConfig.responseModalities"),
        ({"generation_config": {"speech_config": {"voiceConfig": {}}}}, "generationConfig.speechConfig"),
        (
            {"tools": [{"google_search": {}}], "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
    ],
)
def test_what_has_no_price_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(body)
    assert (refused.value.code, refused.value.param) == ("unpriced_feature", param)


@pytest.mark.parametrize(
    "hosted",
    [
        "googleSearch",
        "google_search",
        "google_search_retrieval",
        "codeExecution",
        "url_context",
        "googleMaps",
        "fileSearch",
    ],
)
def test_tools_that_run_at_google_are_left_out_and_named(hosted: str) -> None:
    name = next(iter(normalised({hosted: 1})))
    kept, said = check({"contents": [], "tools": [{hosted: {}, **FUNCTIONS}, {hosted: {}}]})
    assert kept == {"contents": [], "tools": [FUNCTIONS]}
    assert said == (f"tools.{name}",)
    kept, said = check({"contents": [], "tools": [{hosted: {}}], "toolConfig": {}})
    assert kept == {"contents": []}
    assert said == (f"tools.{name}",)


def test_a_tools_name_cannot_break_a_header() -> None:
    _, said = check({"tools": [{"evil\r\nx: y": {}}, FUNCTIONS]})
    assert said == ("tools.unknown",)
