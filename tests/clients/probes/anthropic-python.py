from page import client, model
from probing import BROKEN, SLOW, UNKNOWN, report


def ask(name, prompt, **more):
    return client.messages.create(model=name, max_tokens=100, messages=[{"role": "user", "content": prompt}], **more)


def helper(prompt):
    with client.messages.stream(model=model, max_tokens=100, messages=[{"role": "user", "content": prompt}]) as stream:
        return stream.get_final_message().content[0].text


report(
    unknown=lambda: ask(UNKNOWN, "Hello"),
    unknown_streamed=lambda: ask(UNKNOWN, "Hello", stream=True),
    unknown_count=lambda: client.messages.count_tokens(model=UNKNOWN, messages=[{"role": "user", "content": "Hello"}]),
    cut=lambda: list(ask(model, BROKEN, stream=True)),
    cut_helper=lambda: helper(BROKEN),
    slow=lambda: helper(SLOW),
)
