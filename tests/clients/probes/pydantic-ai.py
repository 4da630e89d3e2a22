import asyncio

from page import Agent, AnthropicModel, OpenAIChatModel, anthropic, model, openai
from probing import BROKEN, SLOW, UNKNOWN, report

messages = AnthropicModel("claude-sonnet-5.5", provider=anthropic)


async def streamed(of, prompt):
    async with Agent(of).run_stream(prompt) as run:
        return "".join([piece async for piece in run.stream_text(delta=True)])


report(
    unknown=lambda: Agent(OpenAIChatModel(UNKNOWN, provider=openai)).run_sync("Hello"),
    unknown_messages=lambda: Agent(AnthropicModel(UNKNOWN, provider=anthropic)).run_sync("Hello"),
    cut=lambda: asyncio.run(streamed(model, BROKEN)),
    cut_messages=lambda: asyncio.run(streamed(messages, BROKEN)),
    slow=lambda: asyncio.run(streamed(model, SLOW)),
    slow_messages=lambda: asyncio.run(streamed(messages, SLOW)),
)
