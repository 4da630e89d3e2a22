"""Ask once, and print the answer as it comes.

TOKENHUB_BASE_URL=http://127.0.0.1:8080/v1 TOKENHUB_API_KEY=th-… python stream.py
"""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("TOKENHUB_BASE_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ["TOKENHUB_API_KEY"],
)
stream = client.chat.completions.create(
    model=os.environ.get("TOKENHUB_MODEL", "smollm2-135m"),
    messages=[{"role": "user", "content": "What is the capital of France?"}],
    max_tokens=100,
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    if chunk.usage:
        print(f"\n{chunk.usage.total_tokens} tokens, {chunk.usage.to_dict()['cost_details']['total']} USD")
