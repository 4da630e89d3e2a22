"""Let the model call a function of yours, and answer with its result.

TOKENHUB_BASE_URL=http://127.0.0.1:8080/v1 TOKENHUB_API_KEY=th-… python tools.py
"""

import json
import os

from openai import OpenAI


def get_weather(city: str) -> str:
    """Stand in for a real weather service."""
    return f"Sunny, 21 degrees in {city}"


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

client = OpenAI(
    base_url=os.environ.get("TOKENHUB_BASE_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ["TOKENHUB_API_KEY"],
)
model = os.environ.get("TOKENHUB_MODEL", "smollm2-135m")
messages = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]

asked = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], max_tokens=200)
call = asked.choices[0].message.tool_calls[0]
arguments = json.loads(call.function.arguments)
print(f"{call.function.name}({arguments})")

messages.append(asked.choices[0].message)
messages.append({"role": "tool", "tool_call_id": call.id, "content": get_weather(**arguments)})
told = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], max_tokens=200)
print(told.choices[0].message.content)
