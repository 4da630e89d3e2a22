async function tried(attempt) {
  try {
    return { result: String(await attempt()) };
  } catch (error) {
    return { error: error.constructor.name, status: error.status ?? null, message: error.message };
  }
}

async function read(stream) {
  let text = "";
  for await (const piece of await stream) text += piece.content;
  return text;
}

console.log(
  JSON.stringify({
    unknown: await tried(() => new ChatOpenAI({ model: "no-such-model", ...gateway }).invoke("Hello")),
    slow: await tried(() => read(model.stream("What is the capital of France? Think long."))),
    cut: await tried(() => read(model.stream("Break off, please."))),
  }),
);
