const unknown = "no-such-model";
const slow = [{ role: "user", content: "What is the capital of France? Think long." }];
const broken = [{ role: "user", content: "Break off, please." }];

async function tried(attempt) {
  try {
    return { result: String(await attempt()) };
  } catch (error) {
    return { error: error.constructor.name, status: error.status ?? null, message: error.message };
  }
}

async function read(stream) {
  let text = "";
  for await (const piece of await stream) text += piece.choices?.[0]?.delta?.content ?? "";
  return text;
}

console.log(
  JSON.stringify({
    unknown: await tried(() => client.chat.completions.create({ model: unknown, messages })),
    unknown_streamed: await tried(() => client.chat.completions.create({ model: unknown, messages, stream: true })),
    unknown_responses: await tried(() => client.responses.create({ model: unknown, input: "Hello" })),
    cut: await tried(() => read(client.chat.completions.create({ model, messages: broken, stream: true }))),
    cut_helper: await tried(() => client.chat.completions.stream({ model, messages: broken }).finalContent()),
    slow: await tried(() => read(client.chat.completions.create({ model, messages: slow, stream: true }))),
    slow_helper: await tried(() => client.chat.completions.stream({ model, messages: slow }).finalContent()),
    cut_responses: await tried(() => read(client.responses.create({ model, input: broken[0].content, stream: true }))),
  }),
);
