"""OpenAI itself: its chat wire is ours; what differs is what its reasoning models refuse."""

from tokenhub.providers import chat_body
from tokenhub.providers.chat_body import Shaping
from tokenhub.providers.openai_compatible import OpenAICompatible


def tools_without_reasoning(shaping: Shaping) -> None:
    """Keep function tools and reasoning apart where chat completions refuses both together.

    From gpt-5.4 on that combination is for the Responses API alone; models that reason by
    default refuse plain tools too unless ``reasoning_effort`` is ``none``, and two of them
    refuse ``none`` (400 with ``param: reasoning_effort``; LiteLLM and pydantic-ai profiles,
    2026-11).
    """
    if not shaping.traits["tools_need_responses_api"] or not shaping.call.uses_tools or not shaping.thinks:
        return
    if shaping.asked_to_think:
        raise shaping.refuse(
            "reasoning_effort",
            "takes no tools together with reasoning on chat completions; send reasoning_effort none, or no tools.",
        )
    if not chat_body.without_reasoning(shaping):
        raise shaping.refuse(
            "tools", "takes tools only on the Responses API, because it always reasons; ask for another model."
        )


_AFTER_REASONING = chat_body.STEPS.index(chat_body.reasoning) + 1


class OpenAI(OpenAICompatible):
    """``api.openai.com`` and its regional hosts."""

    steps = (*chat_body.STEPS[:_AFTER_REASONING], tools_without_reasoning, *chat_body.STEPS[_AFTER_REASONING:])
