import asyncio

from page import Agent, OpenAIChatCompletionsModel, Runner, chat, client, responses
from probing import BROKEN, SLOW, UNKNOWN, report


async def streamed(model, prompt):
    run = Runner.run_streamed(Agent(name="streamed", model=model), prompt)
    async for _ in run.stream_events():
        pass
    return run.final_output


async def unknown():
    model = OpenAIChatCompletionsModel(model=UNKNOWN, openai_client=client)
    return await Runner.run(Agent(name="unknown", model=model), "Hello")


with asyncio.Runner() as runner:
    report(
        unknown=lambda: runner.run(unknown()),
        cut=lambda: runner.run(streamed(chat, BROKEN)),
        cut_responses=lambda: runner.run(streamed(responses, BROKEN)),
        slow=lambda: runner.run(streamed(chat, SLOW)),
        slow_responses=lambda: runner.run(streamed(responses, SLOW)),
    )
