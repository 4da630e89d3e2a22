from page import client, model
from probing import BROKEN, SLOW, UNKNOWN, report


def streamed(prompt):
    return "".join(piece.text for piece in client.models.generate_content_stream(model=model, contents=prompt))


report(
    unknown=lambda: client.models.generate_content(model=UNKNOWN, contents="Hello"),
    unknown_streamed=lambda: list(client.models.generate_content_stream(model=UNKNOWN, contents="Hello")),
    unknown_count=lambda: client.models.count_tokens(model=UNKNOWN, contents="Hello"),
    cut=lambda: streamed(BROKEN),
    slow=lambda: streamed(SLOW),
)
