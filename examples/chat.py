"""Ask once, and read the whole answer and what it cost.

TOKENHUB_BASE_URL=http://127.0.0.1:8080/v1 TOKENHUB_API_KEY=th-… python chat.py
"""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("TOKENHUB_BASE_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ["TOKENHUB_API_KEY"],
)
reply = client.chat.completions.create(
    model=os.environ.get("TOKENHUB_MODEL", "smollm2-135m"),
    messages=[{"role": "user", "content": "What is the capital of France?"}],
    max_tokens=100,
)
print(reply.choices[0].message.content)

usage = reply.usage.to_dict()
print(f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens, {usage['cost_details']['total']} USD")
