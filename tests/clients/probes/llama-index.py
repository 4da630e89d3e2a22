from page import ChatMessage, OpenAILike, gateway, model
from probing import BROKEN, SLOW, UNKNOWN, report


def asked(prompt):
    return [ChatMessage(role="user", content=prompt)]


def streamed(prompt):
    return "".join(piece.delta for piece in model.stream_chat(asked(prompt)))


report(
    unknown=lambda: OpenAILike(model=UNKNOWN, is_chat_model=True, **gateway).chat(asked("Hello")),
    cut=lambda: streamed(BROKEN),
    slow=lambda: streamed(SLOW),
)
