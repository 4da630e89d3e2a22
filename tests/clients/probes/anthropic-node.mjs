const unknown = { model: "no-such-model", max_tokens: 100, messages };
const slow = { ...common, messages: [{ role: "user", content: "What is the capital of France? Think long." }] };
const broken = { ...common, messages: [{ role: "user", content: "Break off, please." }] };

async function tried(attempt) {
  try {
    return { result: String(await attempt()) };
  } catch (error) {
    return { error: error.constructor.name, status: error.status ?? null, message: error.message };
  }
}

async function read(stream) {
  let events = 0;
  for await (const _ of await stream) events += 1;
  return events;
}

console.log(
  JSON.stringify({
    unknown: await tried(() => client.messages.create(unknown)),
    unknown_streamed: await tried(() => client.messages.create({ ...unknown, stream: true })),
    unknown_count: await tried(() => client.messages.countTokens({ model: unknown.model, messages })),
    cut: await tried(() => read(client.messages.create({ ...broken, stream: true }))),
    slow: await tried(() => client.messages.stream(slow).finalText()),
    cut_helper: await tried(() => client.messages.stream(broken).finalMessage()),
  }),
);
