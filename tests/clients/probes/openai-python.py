from page import client
from probing import BROKEN, SLOW, UNKNOWN, report

MODEL = "gpt-4.1-mini"


def chat(model, prompt, **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], **more)


def plain_loop(prompt):
    pieces = chat(MODEL, prompt, stream=True)
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


def helper(prompt):
    with client.responses.stream(model=MODEL, input=prompt) as stream:
        return stream.get_final_response().output_text


report(
    unknown=lambda: chat(UNKNOWN, "Hello"),
    unknown_streamed=lambda: chat(UNKNOWN, "Hello", stream=True),
    unknown_responses=lambda: client.responses.create(model=UNKNOWN, input="Hello"),
    cut=lambda: plain_loop(BROKEN),
    cut_responses=lambda: list(client.responses.create(model=MODEL, input=BROKEN, stream=True)),
    broken_responses=lambda: helper(BROKEN),
    slow=lambda: plain_loop(SLOW),
    slow_responses=lambda: helper(SLOW),
)
