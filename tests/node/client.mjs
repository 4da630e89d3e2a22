// The official `openai` package for Node against a gateway: one JSON report on stdout, which test_node_sdk.py judges.
//
//     node client.mjs BASE_URL KEY

import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
const model = "gpt-4o-mini";
const messages = [{ role: "user", content: "What is the capital of France?" }];
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

async function chat() {
  const reply = await client.chat.completions.create({ model, messages });
  return { text: reply.choices[0].message.content, usage: reply.usage, requestId: reply._request_id };
}

async function stream() {
  const chunks = [];
  const options = { model, messages, stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create(options)) chunks.push(chunk);
  return {
    text: chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""),
    finish: chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean),
    usage: chunks.at(-1).usage,
    ids: new Set(chunks.map((chunk) => chunk.id)).size,
  };
}

async function streamHelper() {
  const pieces = [];
  const helper = client.chat.completions.stream({ model, messages }).on("content", (piece) => pieces.push(piece));
  const final = await helper.finalChatCompletion();
  return { pieces, text: final.choices[0].message.content, finish: final.choices[0].finish_reason };
}

async function tools() {
  const asked = await client.chat.completions.create({ model, messages, tools: [weather] });
  const call = asked.choices[0].message.tool_calls[0];
  const history = [...messages, asked.choices[0].message, { role: "tool", tool_call_id: call.id, content: "sun" }];
  const told = await client.chat.completions.create({ model, messages: history, tools: [weather] });
  return { call, finish: asked.choices[0].finish_reason, text: told.choices[0].message.content };
}

async function streamedTools() {
  const final = await client.chat.completions.stream({ model, messages, tools: [weather] }).finalChatCompletion();
  return final.choices[0].message.tool_calls[0].function;
}

async function embeddings() {
  const packed = await client.embeddings.create({ model: "text-embedding-3-small", input: ["a", "b"] });
  const plain = await client.embeddings.create({ model: "text-embedding-3-small", input: "a", encoding_format: "float" });
  return { packed: packed.data.map((row) => row.embedding), plain: plain.data[0].embedding, usage: plain.usage };
}

async function models() {
  const ids = [];
  for await (const one of client.models.list()) ids.push(one.id);
  return { ids, one: await client.models.retrieve(model) };
}

async function left() {
  const begun = await client.chat.completions.create({ model, messages, stream: true });
  for await (const chunk of begun) if (chunk.choices[0]?.delta.content) break;
  return begun.controller.signal.aborted;
}

/** The class, status and body of the error that a call must end in. */
async function errorOf(call) {
  try {
    await call();
  } catch (error) {
    return {
      name: error.constructor.name,
      isApiError: error instanceof OpenAI.APIError,
      status: error.status,
      code: error.code,
      type: error.type,
      requestId: error.requestID,
      retryAfter: error.headers?.get("retry-after") ?? null,
    };
  }
  return null;
}

async function errors() {
  const asking = (fields, options) => () => client.chat.completions.create({ model, messages, ...fields }, options);
  const poor = client.withOptions({ apiKey: process.env.POOR_KEY });
  const slow = client.withOptions({ apiKey: process.env.SLOW_KEY });
  const narrow = client.withOptions({ apiKey: process.env.NARROW_KEY });
  const limited = async () => {
    await slow.chat.completions.create({ model, messages });
    await slow.chat.completions.create({ model, messages });
  };
  const broken = async () => {
    for await (const _ of await client.chat.completions.create({ model, messages, stream: true }));
  };
  return {
    authentication: await errorOf(() => client.withOptions({ apiKey: "th-wrong" }).models.list()),
    notFound: await errorOf(asking({ model: "gpt-nothing" })),
    badRequest: await errorOf(asking({ temperature: 9 })),
    credit: await errorOf(() => poor.chat.completions.create({ model, messages })),
    permission: await errorOf(() => narrow.chat.completions.create({ model, messages })),
    rateLimit: await errorOf(limited),
    upstream: await errorOf(asking({})),
    broken: await errorOf(broken),
  };
}

const report = {};
for (const step of [chat, stream, streamHelper, tools, streamedTools, embeddings, models, left, errors]) {
  report[step.name] = await step();
}
console.log(JSON.stringify(report));
