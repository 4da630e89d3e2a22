from page import ChatOpenAI, gateway, model
from probing import BROKEN, SLOW, UNKNOWN, report

responses = ChatOpenAI(model="gpt-4.1-mini", use_responses_api=True, **gateway)


def streamed(of, prompt):
    return "".join(str(piece.text) for piece in of.stream(prompt))


report(
    unknown=lambda: ChatOpenAI(model=UNKNOWN, **gateway).invoke("Hello"),
    cut=lambda: streamed(model, BROKEN),
    cut_responses=lambda: streamed(responses, BROKEN),
    slow=lambda: streamed(model, SLOW),
    slow_responses=lambda: streamed(responses, SLOW),
)
