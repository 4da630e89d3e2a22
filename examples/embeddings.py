"""Turn texts into vectors, and compare them.

TOKENHUB_BASE_URL=http://127.0.0.1:8080/v1 TOKENHUB_API_KEY=th-… python embeddings.py
"""

import math
import os

from openai import OpenAI

TEXTS = ["The cat sits on the mat.", "A kitten rests on a rug.", "Revenue grew by nine per cent."]


def likeness(one: list[float], other: list[float]) -> float:
    """Return the cosine of the angle between two vectors: 1 for the same direction."""
    return math.sumprod(one, other) if hasattr(math, "sumprod") else sum(a * b for a, b in zip(one, other, strict=True))


client = OpenAI(
    base_url=os.environ.get("TOKENHUB_BASE_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ["TOKENHUB_API_KEY"],
)
reply = client.embeddings.create(model=os.environ.get("TOKENHUB_EMBEDDING_MODEL", "smollm2-135m-embed"), input=TEXTS)
vectors = [item.embedding for item in reply.data]
print(f"{len(vectors)} vectors of {len(vectors[0])} numbers, {reply.usage.prompt_tokens} tokens")
for text, vector in zip(TEXTS[1:], vectors[1:], strict=True):
    print(f"{likeness(vectors[0], vector):.2f}  {text}")
