"""Sessions on deployments: shares by weight, the same in every process, and only what must move moves."""

import json
import os
import random
import subprocess
import sys
from collections import Counter

import pytest

from tokenhub.routing import affinity

SESSIONS = 10_000
NAMES = [f"provider{number}/model@eu#{number}" for number in range(8)]


def sessions(count=SESSIONS, seed=7):
    rng = random.Random(seed)
    return [rng.randbytes(16) for _ in range(count)]


def order(names, weights, seed):
    drawn = affinity.session_mark(seed)
    scores = [affinity.score(affinity.mark_of(name), weights[name], drawn) for name in names]
    return [name for _, name in sorted(zip(scores, names, strict=True))]


def firsts(names, weights, of):
    return [order(names, weights, seed)[0] for seed in of]


def tolerance(share, count=SESSIONS):
    """Five standard deviations of a share over so many draws: a right share is out once in two million tests."""
    return 5 * (share * (1 - share) / count) ** 0.5


def test_each_comes_first_in_proportion_to_its_weight():
    weights = dict(zip(NAMES, [1, 1, 2, 4, 0.5, 3, 0.01, 8], strict=True))
    total = sum(weights.values())
    counts = Counter(firsts(NAMES, weights, sessions()))
    for name, weight in weights.items():
        share = weight / total
        assert counts[name] / SESSIONS == pytest.approx(share, abs=tolerance(share))


def test_one_that_goes_away_moves_its_own_sessions_alone_each_to_its_second():
    weights = dict(zip(NAMES, [1, 1, 2, 4, 0.5, 3, 1, 8], strict=True))
    gone = NAMES[3]
    left = [name for name in NAMES if name != gone]
    moved = 0
    for seed in sessions():
        before = order(NAMES, weights, seed)
        after = order(left, weights, seed)
        assert after == [name for name in before if name != gone]
        moved += before[0] == gone
    share = 4 / sum(weights.values())
    assert moved / SESSIONS == pytest.approx(share, abs=tolerance(share))


def test_one_that_comes_takes_its_share_and_moves_nothing_else():
    weights = dict.fromkeys(NAMES, 1.0) | {"new": 2.0}
    before, after = firsts(NAMES, weights, sessions()), firsts([*NAMES, "new"], weights, sessions())
    moved = [two for one, two in zip(before, after, strict=True) if one != two]
    assert set(moved) == {"new"}
    assert len(moved) / SESSIONS == pytest.approx(0.2, abs=tolerance(0.2))


def test_a_weight_that_changes_moves_sessions_to_or_from_that_one_alone():
    weights = dict.fromkeys(NAMES, 1.0)
    before = firsts(NAMES, weights, sessions())
    for changed in (0.25, 4.0):
        after = firsts(NAMES, weights | {NAMES[0]: changed}, sessions())
        moves = {(one, two) for one, two in zip(before, after, strict=True) if one != two}
        side = 0 if changed < 1 else 1
        assert moves
        assert {move[side] for move in moves} == {NAMES[0]}


def test_equal_factors_on_all_weights_change_no_order():
    weights = dict(zip(NAMES, [1, 1, 2, 4, 0.5, 3, 1, 8], strict=True))
    scaled = {name: weight * 0.37 for name, weight in weights.items()}
    for seed in sessions(500):
        assert order(NAMES, weights, seed) == order(NAMES, scaled, seed)


def test_second_choices_are_spread_too():
    weights = dict.fromkeys(NAMES, 1.0)
    seconds = Counter(
        order(NAMES, weights, seed)[1] for seed in sessions() if order(NAMES, weights, seed)[0] == NAMES[0]
    )
    assert set(seconds) == set(NAMES[1:])
    assert max(seconds.values()) < 1.5 * min(seconds.values())


def test_seeds_of_any_kind_are_taken_and_neighbours_are_not_alike():
    weights = dict.fromkeys(NAMES, 1.0)
    counted = Counter(firsts(NAMES, weights, [f"req_{number}".encode() for number in range(SESSIONS)]))
    for name in NAMES:
        assert counted[name] / SESSIONS == pytest.approx(1 / 8, abs=tolerance(1 / 8))


def test_price_gives_the_share_that_openrouter_gives_it():
    assert affinity.share(100, 100) == affinity.share(0, 0) == affinity.share(0, 100) == 1
    assert affinity.share(200, 100) == 0.25
    assert affinity.share(10**6, 100) == affinity.share(100, 0) == affinity.WEIGHT_LEAST


FIND = """
import json, random, sys
from tokenhub.routing import affinity, session
names, weights = json.loads(sys.argv[1])
marks = [affinity.mark_of(name) for name in names]
for number in range(int(sys.argv[2])):
    body = {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"question {number}"}]}
    found = session.of(body, None, account_id=1 + number % 50, key=bytes.fromhex(sys.argv[3]))
    drawn = affinity.session_mark(found.id)
    scores = [affinity.score(mark, weight, drawn) for mark, weight in zip(marks, weights)]
    print(found.id.hex(), names[scores.index(min(scores))])
"""


def test_ten_thousand_sessions_are_on_the_same_deployment_in_two_processes():
    told = json.dumps([NAMES, [1, 1, 2, 4, 0.5, 3, 1, 8]])
    key = os.urandom(32).hex()
    answers = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", FIND, told, str(SESSIONS), key],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(done.stdout.splitlines())
    assert len(answers[0]) == len(set(answers[0])) == SESSIONS
    assert answers[0] == answers[1]
    assert {line.split()[1] for line in answers[0]} == set(NAMES)


def test_the_draw_is_fixed_for_ever():
    """A new release must not move every session of every customer: these numbers never change."""
    assert affinity.mark_of("openai/gpt-4o@global#1") == MARK
    assert affinity.session_mark(b"session") == SESSION
    assert affinity.score(MARK, 2.0, SESSION) == pytest.approx(SCORE, rel=1e-12)


MARK, SESSION, SCORE = 7987785881089256346, 2664054695802742197, 1.0067659963279934
