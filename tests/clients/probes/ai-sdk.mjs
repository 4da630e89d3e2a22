async function tried(attempt) {
  try {
    return { result: String(await attempt()) };
  } catch (error) {
    return { error: error.constructor.name, status: error.statusCode ?? null, message: error.message };
  }
}

const slow = "What is the capital of France? Think long.";
const broken = "Break off, please.";

// A stream that fails hands its error to onError and ends.
async function read(of, prompt) {
  let failure = null;
  const onError = ({ error }) => (failure = error);
  const { textStream } = streamText({ model: of, prompt, maxRetries: 0, onError });
  let text = "";
  for await (const piece of textStream) text += piece;
  if (failure !== null) throw failure instanceof Error ? failure : new Error(JSON.stringify(failure));
  return text;
}

const ask = (of) => generateText({ model: of, prompt, maxRetries: 0 });
const openai = createOpenAI(gateway);
const anthropic = createAnthropic(gateway);
console.log(
  JSON.stringify({
    unknown: await tried(() => ask(chat("no-such-model"))),
    unknown_responses: await tried(() => ask(openai("no-such-model"))),
    unknown_messages: await tried(() => ask(anthropic("no-such-model"))),
    cut: await tried(() => read(model, broken)),
    cut_responses: await tried(() => read(openai("gpt-4.1-mini"), broken)),
    cut_messages: await tried(() => read(anthropic("claude-sonnet-5.5"), broken)),
    slow: await tried(() => read(model, slow)),
    slow_responses: await tried(() => read(openai("gpt-4.1-mini"), slow)),
    slow_messages: await tried(() => read(anthropic("claude-sonnet-5.5"), slow)),
  }),
);
