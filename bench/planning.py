"""What planning one request costs: a model with eight deployments, a boundary, a session. CPU time, no I/O.

python -m bench.planning
"""

import time
from collections.abc import Callable

from tokenhub.call import Call, Capability
from tokenhub.catalog import load, resolve
from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Credential
from tokenhub.catalog.resolve import Scope
from tokenhub.routing import preferences, route
from tokenhub.routing.availability import Observed
from tokenhub.routing.boundaries import Scoped
from tokenhub.routing.preferences import Preferences
from tokenhub.routing.survey import Survey, survey

DEPLOYMENTS = 8
PLANS = 5_000
ROUNDS = 7
NOW_MS = 1_800_000_000_000
CALL = Call(Capability.CHAT, "asked", input_bytes=2_000, messages=3)


def surveyed(rule: Preferences) -> Survey:
    """Return what a name with eight deployments at four providers comes to inside an account's rule."""
    overrides, credentials = [], []
    places = [(f"maker-{number // 2}", "eu" if number % 2 else "us") for number in range(DEPLOYMENTS)]
    for name in dict.fromkeys(name for name, _ in places):
        regions = [{"id": one, "base_url": f"https://{name}.example/{one}", "data_region": one} for one in ("eu", "us")]
        overrides.append(Override("provider", name, {"name": name, "regions": regions}))
    offerings = [
        {
            "provider": name,
            "regions": [region],
            "upstream_id": "asked",
            "price": {"input": f"{1 + place}", "output": "9"},
        }
        for place, (name, region) in enumerate(places)
    ]
    overrides.append(Override("model", "asked", {"context": 200_000, "offerings": offerings}))
    credentials = [Credential(place, name, region, "", "sk-bench") for place, (name, region) in enumerate(places, 1)]
    found = resolve.resolve(load.load(overrides), "asked", None, credentials)
    return survey(found, (Scoped("account", "1", rule),), Scope())


def cost_us(work: Callable[[], object]) -> float:
    """Return the CPU time of one call, in microseconds: the best of some rounds, as other work only adds to it."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        for _ in range(PLANS):
            work()
        best = min(best, (time.thread_time_ns() - began) / PLANS / 1_000)
    return best


def measured() -> dict[str, float]:
    """Return microseconds of CPU for each kind of planning."""
    inside = surveyed(preferences.parse({"regions": ["eu", "us"], "deny_providers": ["openrouter"]}))
    half = surveyed(preferences.parse({"regions": ["eu"]}))
    only = preferences.of_request({"provider": {"only": ["maker-0", "maker-1", "maker-2"], "sort": "price"}})
    availability = Observed()

    def plan(found: Survey, request: Preferences | None = None) -> object:
        return route.plan(
            CALL,
            [found],
            availability=availability,
            seed=b"session-of-bench",
            now_ms=NOW_MS,
            max_attempts=3,
            request=request,
        )

    return {
        "eight deployments inside a boundary": cost_us(lambda: plan(inside)),
        "eight deployments, four of them outside": cost_us(lambda: plan(half)),
        "eight deployments, a boundary, and the request's own provider object": cost_us(lambda: plan(inside, only)),
    }


if __name__ == "__main__":
    for title, spent_us in measured().items():
        print(f"{spent_us:6.1f} us  {title}")
