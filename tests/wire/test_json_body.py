"""Request bodies, hostile and plain (T50)."""

import json
import random
import time
from typing import Any

import orjson
import pytest

from tests.wire.cuts import SOAK
from tokenhub.errors import InvalidRequest
from tokenhub.wire.json_body import parse_object

DEEPEST = 224


def nested(opening: str, closing: str, depth: int, core: str = "1") -> bytes:
    return (opening * depth + core + closing * depth).encode()


REFUSED = [
    b"",
    b" ",
    b"\n\n",
    b"null",
    b"true",
    b"1",
    b"-0.5",
    b'"text"',
    b"[]",
    b"[{}]",
    b"{",
    b"}",
    b"{]",
    b'{"a"}',
    b'{"a":}',
    b'{"a":1,}',
    b"{,}",
    b'{"a":1 "b":2}',
    b"{'a':1}",
    b"{a:1}",
    b'{"a":1}}',
    b'{"a":1}{}',
    b'{"a":1} x',
    b'{"a":1}\x00',
    b'\x00{"a":1}',
    b'{"a":NaN}',
    b'{"a":nan}',
    b'{"a":Infinity}',
    b'{"a":-Infinity}',
    b'{"a":1e999}',
    b'{"a":-1e999}',
    b'{"a":01}',
    b'{"a":+1}',
    b'{"a":.5}',
    b'{"a":5.}',
    b'{"a":1e}',
    b'{"a":0x10}',
    b'{"a":1_000}',
    b'{"a":--1}',
    b'{"a":undefined}',
    b'{"a":True}',
    b'{"a":None}',
    b'{"a":tru}',
    b'{"a":"b}',
    b'{"a":"\x01"}',
    b'{"a":"\n"}',
    b'{"a":"\t"}',
    b'{"a":"\\x41"}',
    b'{"a":"\\u12"}',
    b'{"a":"\\u{41}"}',
    b'{"a":"\\"}',
    b"/* c */ {}",
    b"{} // c",
    b"# c\n{}",
    b"{\"a\":'b'}",
    b"\xef\xbb\xbf{}",
    '{"a":1}'.encode("utf-16"),
    '{"a":1}'.encode("utf-16-le"),
    '{"a":1}'.encode("utf-16-be"),
    '{"a":1}'.encode("utf-32"),
    '{"a":"é"}'.encode("latin-1"),
    b'{"a":"\xff"}',
    b'{"a":"\xc0\xaf"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xf5\x80\x80\x80"}',
    b'{"\xff":1}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\udc00"}',
    b'{"a":"\\ud800\\ud800"}',
    b'{"a":"\\udc00\\ud800"}',
    b'{"a":"\\uD83D x"}',
    b'{"\\ud800":1}',
    b'{"a":[{"b":["\\udfff"]}]}',
    *(b'{"a":%b}' % (b"9" * digits) for digits in (20, 21, 25, 40, 308, 309, 400, 4300, 5000, 100_000)),
    *(b'{"a":-%b}' % (b"9" * digits) for digits in (19, 20, 21, 25, 40, 308, 309, 5000)),
    b'{"a":18446744073709551616}',
    b'{"a":-9223372036854775809}',
    b'{"a":[1,[2,{"b":123456789012345678901234567890}]]}',
    b'{"a":1,"a":1}',
    b'{"a":1,"a":2}',
    b'{"a":null,"a":null}',
    b'{"":1,"":1}',
    b'{"a":1,"\\u0061":2}',
    b'{"a" :1,"a" :2}',
    b'{"a"\n:1, "b":2, "a"\t:3}',
    b'{"a:":1,"a\\u003a":2}',
    b'{"a":"\\u003a","a":"x"}',
    b'{"a":"\\u003A","a":"x"}',
    b'{"a":":","a":"\\u003a\\u003a"}',
    b'{"b":{"a":1,"a":2}}',
    b'{"b":[{"a":1},{"a":1,"a":2}]}',
    b'{"b":[[[{"c":{"a":{},"a":[]}}]]]}',
    b'{"messages":[{"role":"user","content":"x","role":"system"}]}',
    b'{"model":"cheap","messages":[],"model":"dear"}',
    b'{"a":{"b":1},"a":{"c":1}}',
    b'{"x":"' + b":" * 50 + b'","a":1,"a":2}',
    *(nested('{"a":', "}", depth) for depth in (DEEPEST + 1, 254, 255, 300, 1_024, 5_000, 100_000)),
    *(b'{"a":' + nested("[", "]", depth) + b"}" for depth in (DEEPEST, 1_023, 1_025, 100_000)),
    *(b'{"a":' * depth for depth in (1, 10, 1_000, 100_000)),
    *(b"[" * depth for depth in (1, 10, 1_000, 100_000, 5_000_000)),
    *(b'{"a":[' * depth for depth in (1, 500, 100_000)),
    *(b"{" * depth for depth in (2, 100_000)),
    *(b'{"a":"x"' + bytes([byte]) for byte in range(0x20, 0x7E, 3) if byte not in b"} \t"),
    *(b'{"a":' + bytes([byte]) + b"}" for byte in range(0x80, 0x100, 8)),
    *(b'{"a":"\\' + bytes([byte]) + b'"}' for byte in range(0x61, 0x7B) if byte not in b"bfnrtu"),
]

TAKEN: list[tuple[bytes, Any]] = [
    (b"{}", {}),
    (b' \r\n\t{ "a" : 1 } \n', {"a": 1}),
    (b'{"a":18446744073709551615}', {"a": 2**64 - 1}),
    (b'{"a":-9223372036854775808}', {"a": -(2**63)}),
    (b'{"a":9223372036854775807}', {"a": 2**63 - 1}),
    (b'{"a":"12345678901234567890123456789"}', {"a": "12345678901234567890123456789"}),
    (b'{"a":0.1234567890123456789012345}', {"a": 0.12345678901234568}),
    (b'{"a":"\\ud83d\\ude00\\u0000"}', {"a": "😀\x00"}),
    (b'{"a":"b:c","d":"\\":","e":"\\u003a"}', {"a": "b:c", "d": '":', "e": ":"}),
    (b'{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}', {"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 1}]}),
    (b'{"a":1,"A":2,"\\u0061 ":3}', {"a": 1, "A": 2, "a ": 3}),
    (b'{"a"  :  1e5 , "b"\n:\n-0}', {"a": 100000.0, "b": 0}),
]


def test_t50_the_corpus_has_two_hundred_hostile_bodies():
    assert len(set(REFUSED)) >= 200


@pytest.mark.parametrize("raw", REFUSED, ids=lambda raw: repr(raw[:30]))
def test_t50_a_hostile_body_is_refused_as_invalid_json(raw):
    with pytest.raises(InvalidRequest) as refused:
        parse_object(raw)
    assert refused.value.code == "invalid_json"
    assert refused.value.status == 400


@pytest.mark.parametrize(("raw", "value"), TAKEN, ids=lambda raw: repr(raw)[:30])
def test_an_unusual_but_clear_body_is_taken(raw, value):
    assert parse_object(raw) == value


def test_the_deepest_body_that_is_taken_can_be_written_again():
    value = parse_object(nested('{"a":', "}", DEEPEST))
    assert orjson.dumps(value).count(b"{") == DEEPEST


def test_a_body_that_is_too_deep_is_told_how_deep_it_may_be():
    with pytest.raises(InvalidRequest, match=f"at most {DEEPEST} levels"):
        parse_object(nested('{"a":', "}", DEEPEST + 1))


def test_t50_no_refusal_quotes_the_body():
    secret = b"my-own-secret"
    for raw in (b'{"a":"' + secret, b'{"' + secret + b'":1,"' + secret + b'":2}', secret):
        with pytest.raises(InvalidRequest) as refused:
            parse_object(raw)
        assert secret.decode() not in refused.value.message


@pytest.mark.parametrize("raw", [b"[" * 30_000_000, b'{"a":' * 6_000_000, b'{"a":' + b"9" * 30_000_000 + b"}"])
def test_t50_a_bomb_of_thirty_megabytes_is_refused_at_once(raw):
    started = time.process_time()
    with pytest.raises(InvalidRequest):
        parse_object(raw)
    assert time.process_time() - started < 1


class _Hostile(Exception):
    """The reference reader's refusal."""


def reference(raw: bytes) -> dict[str, Any]:
    """Read strictly with the standard library alone; raises _Hostile."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise _Hostile
        return dict(pairs)

    def integer(digits: str) -> int:
        if len(digits) > 21 or not -(2**63) <= int(digits) < 2**64:
            raise _Hostile
        return int(digits)

    def number(digits: str) -> float:
        if abs(float(digits)) == float("inf"):
            raise _Hostile
        return float(digits)

    def constant(_: str) -> None:
        raise _Hostile

    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=unique, parse_int=integer, parse_float=number, parse_constant=constant
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise _Hostile from None
    if not isinstance(value, dict):
        raise _Hostile
    return value


SEEDS = [
    b'{"model":"a/b","messages":[{"role":"user","content":"Say \\"hi\\": now \\u003a ok"}],"n":1,"seed":-1}',
    b'{"a":{"b":{"c":[1,2.5,-3e2,true,false,null,{"d":"\\ud83d\\ude00"}]}},"e":"","f":[],"g":{}}',
    b'{ "tools" : [ { "type" : "function" , "function" : { "name" : "f" , "parameters" : { } } } ] , "x" : 18446744073709551615 }',
    '{"text":"海 é :","list":[":",":"],"long":123456789012345678}'.encode(),
]
SPICE = [
    b'"', b":", b",", b"{", b"}", b"[", b"]", b"\\", b"\\u003a", b"\\ud800", b" ", b"\n", b"0", b"9" * 20, b"-", b"e9",
    b'"a":1,', b'"model":2,', b"NaN", b"\x00", b"\xff", b"null", b'"":0,', b"\\u0061",
]  # fmt: skip


def test_t50_mutated_bodies_are_read_as_a_strict_reader_reads_them_or_refused():
    chance = random.Random(50)
    for _ in range(100_000 if SOAK else 8_000):
        raw = bytearray(chance.choice(SEEDS))
        for _ in range(chance.randint(1, 4)):
            start = chance.randrange(len(raw))
            end = min(len(raw), start + chance.randint(0, 12))
            raw[start:end] = chance.choice([chance.choice(SPICE), raw[start:end] * 2, b""])
            raw = raw or bytearray(b"{")
        body = bytes(raw)
        try:
            expected = reference(body)
        except _Hostile:
            with pytest.raises(InvalidRequest):
                parse_object(body)
        else:
            assert parse_object(body) == expected, body
