"""The most a call can cost at any deployment of its route: what its hold must cover (T3, T4).

The bound is a line over the output limit: a fixed part for the prompt and a price per token
of output, both at the dearest rate that a token can fall under, service fee included. The
write that places the hold walks down that line when the balance does not cover the whole,
and never below a floor of 1 024 output tokens.

Prompt tokens are bounded without a tokenizer:

* text: a token is at least one byte, so the bytes of messages, tools and response format;
* what providers wrap around it: ``CALL_TOKENS``, ``MESSAGE_TOKENS`` each, ``TOOLS_TOKENS`` once;
* an image: the trait or quirk ``image_tokens``, from the provider's own rule;
* audio: its bytes (no provider counts more than a token for a byte of sound);
* a file (PDF and the like) may unfold to any length: the whole context.

What is not a token (images, seconds, characters) is what the call says it can come to at most,
at this deployment's price. Only chat has an output limit that can be lowered.

No prompt is longer than the deployment's context, where that is known; embeddings have one for each input,
and what reads a query beside every document, or a recording in pieces, has no bound by it.
"""

from collections.abc import Sequence

from tokenhub.call import Call, Capability, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.catalog.prices import PriceCard
from tokenhub.money import ATTO_PER_NANO, BASIS_POINTS, ceil_div
from tokenhub.values import value

OUTPUT_FLOOR = 1024
"""The least output limit a call without one is lowered to; below it the call is refused (402)."""
OUTPUT_UNSTATED = 32_768
"""The limit that is sent where neither the client nor the catalogue names one."""
CALL_TOKENS = 128
MESSAGE_TOKENS = 16
"""Role, turn markers and separators of one message: 3 to 8 tokens in published chat templates."""
TOOLS_TOKENS = 1024
"""The hidden prompt that makes a model use tools: 264 to 804 tokens at Anthropic (tool use page, 2026-10)."""
FILE_TOKENS = 1_048_576
"""A file, where the context is not known."""
NO_OUTPUT = frozenset({Capability.EMBEDDINGS, Capability.MODERATIONS, Capability.RERANK, Capability.VIDEOS})
"""Capabilities whose replies have no output tokens."""
IN_PIECES = frozenset({Capability.RERANK, Capability.TRANSCRIPTIONS})
"""Capabilities whose context is that of a piece: it bounds no request."""
ROUNDING_NANO = 3
"""Two fees are rounded up, and the second is a share of the first: a charge exceeds the exact sum by less than this."""


@value
class Bound:
    """What a hold must cover, in the terms of ``holds.Place``."""

    wanted_nano: int
    minimum_nano: int
    """Equal to ``wanted_nano`` when the client set an output limit."""
    output_token_atto: int
    """Price of one more token of output limit, all choices and the service fee included."""
    output_wanted: int
    output_minimum: int
    send_limit: bool
    """An upstream of the route has no maximum of its own: ``output_wanted`` must be sent."""


def bound(call: Call, route: Sequence[tuple[Deployment, PriceCard]], fee_bp: int) -> Bound:
    """Return the most a call can cost on a route of at least one deployment, each with its price card."""
    lines = [_line(call, deployment, card) for deployment, card in route]
    wanted = max(line[2] for line in lines) if len(lines) > 1 else lines[0][2]
    can_lower = call.max_output is None and call.capability is Capability.CHAT
    minimum = min(OUTPUT_FLOOR, wanted) if can_lower else wanted
    share = BASIS_POINTS + fee_bp
    wanted_nano = minimum_nano = token = 0
    for fixed, output_token, output_max in lines:
        nano = _nano(fixed + output_max * output_token, share)
        wanted_nano = max(wanted_nano, nano)
        less = output_max > minimum
        minimum_nano = max(minimum_nano, _nano(fixed + minimum * output_token, share) if less else nano)
        token = max(token, output_token)
    return Bound(
        wanted_nano,
        minimum_nano,
        ceil_div(token * share, BASIS_POINTS),
        wanted,
        minimum,
        send_limit=can_lower and any(deployment.max_output is None for deployment, _ in route),
    )


def _nano(atto: int, share: int) -> int:
    """Return what covers a fee with its service fee; nothing for a free model, even with an empty balance."""
    return ceil_div(ceil_div(atto * share, BASIS_POINTS), ATTO_PER_NANO) + ROUNDING_NANO if atto else 0


def prompt_most(call: Call, deployment: Deployment) -> int:
    """Return the most prompt tokens a call can be counted as at a deployment."""
    context = _context(call, deployment)
    if call.files:
        return context or call.files * FILE_TOKENS + call.input_bytes
    image: int = deployment.model.traits["image_tokens"] or deployment.provider.quirks["image_tokens"]
    tokens = (
        call.input_bytes
        + CALL_TOKENS
        + MESSAGE_TOKENS * call.messages
        + (TOOLS_TOKENS if call.uses_tools else 0)
        + image * call.images
    )
    return min(tokens, context) if context else tokens


def _context(call: Call, deployment: Deployment) -> int | None:
    """Return the most that all of a call's prompt can be read as at once; None where nothing bounds it."""
    if deployment.context is None or call.capability in IN_PIECES:
        return None
    many = call.capability is Capability.EMBEDDINGS or call.wire is Wire.COMPLETIONS
    return deployment.context * (call.messages if many else 1)


def output_most(call: Call, deployment: Deployment) -> int:
    """Return the most output tokens of one choice: the client's limit, else the model's maximum.

    A choice of an images call is one image.
    """
    if call.capability in NO_OUTPUT:
        return 0
    most = deployment.max_output or min(OUTPUT_UNSTATED, deployment.context or OUTPUT_UNSTATED)
    if call.max_output is None:
        return most
    return min(call.max_output, deployment.max_output) if deployment.max_output else call.max_output


def reasoning_most(deployment: Deployment) -> int:
    """Return how many reasoning tokens can come on top of an output limit."""
    traits = deployment.model.traits
    at_provider = deployment.provider.quirks["reasoning_beyond_limit"] if traits["reasoning"] else 0
    return max(int(traits["reasoning_beyond_limit"]), int(at_provider))


def image_most(call: Call, deployment: Deployment) -> int:
    """Return the most image tokens of one image asked for; 0 where they count as any output."""
    if call.capability is not Capability.IMAGES:
        return 0
    return int(deployment.model.traits["image_output_tokens"]) * call.image_scale


def _line(call: Call, deployment: Deployment, card: PriceCard) -> tuple[int, int, int]:
    """Return the line at one deployment: its fixed part, the price of a token of output, and the most of them.

    Atto-USD before the service fee, at the dearest rates of every tier in reach.
    """
    prompt = prompt_most(call, deployment)
    prompt_token, output_token = card.dearest(prompt)
    output_max = output_most(call, deployment)
    beyond = reasoning_most(deployment) + call.output_beyond if output_max else 0
    fixed = prompt * prompt_token
    if call.units:
        fixed += sum(one.count * card.unit_price_most(one.kind, one.variant) for one in call.units)
    if image := image_most(call, deployment):
        # Image tokens have a bound and a price of their own; what is left is the text beside them.
        image_token, output_token = card.dearest_output
        fixed += call.choices * (image + call.output_beyond) * image_token
        beyond = 0
    output_token *= call.choices
    return fixed + beyond * output_token, output_token, output_max
