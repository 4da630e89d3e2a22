"""List what this key may call, with prices per token; then look at the key itself and its account.

TOKENHUB_BASE_URL=http://127.0.0.1:8080/v1 TOKENHUB_API_KEY=th-… python models.py
"""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("TOKENHUB_BASE_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ["TOKENHUB_API_KEY"],
)
for model in client.models.list():
    facts = model.to_dict()
    pricing = facts["pricing"]
    print(f"{model.id}: {facts['context_length']} tokens, {pricing['prompt']} + {pricing['completion']} USD per token")

for path in ("/key", "/credits"):
    print(path, client.get(path, cast_to=object))
