// Every method the gateway serves, by the vendors' own Node SDKs; prints what came as one JSON object.
// usage: node sdk.cjs NODE_MODULES '{"anthropic": URL, "openai": URL, "key": ..., "chat": MODEL, "embed": MODEL}'
const {createRequire} = require("module");
const path = require("path");
const require_ = createRequire(path.join(process.argv[2], "x.js"));
const Anthropic = require_("@anthropic-ai/sdk");
const OpenAI = require_("openai");
const o = JSON.parse(process.argv[3]);

const settings = {apiKey: o.key, maxRetries: 0, timeout: 20000};
const anthropic = new (Anthropic.default ?? Anthropic)({...settings, baseURL: o.anthropic});
const openai = new (OpenAI.default ?? OpenAI)({...settings, baseURL: o.openai});
const said = (text) => [{role: "user", content: text}];
const told = {};

async function refusal(promise) {
  try {
    await promise;
    return null;
  } catch (e) {
    return {name: e.constructor.name, status: e.status, request: e.requestID ?? e.request_id ?? null, message: e.message};
  }
}

async function main() {
  const ask = {model: o.chat, max_tokens: 100, messages: said("sim: input=5 output=3 text=hello")};
  const message = await anthropic.messages.create(ask);
  told.message = [message.content[0].text, message.usage.input_tokens, message.usage.output_tokens];
  told.message_id = message._request_id;
  told.message_stream = (await anthropic.messages.stream(ask).finalMessage()).content[0].text;
  told.count_tokens = (await anthropic.messages.countTokens({model: o.chat, messages: said("hi")})).input_tokens;
  told.anthropic_models = [];
  for await (const model of anthropic.models.list()) told.anthropic_models.push(model.id);
  told.anthropic_model = (await anthropic.models.retrieve(o.chat)).id;
  told.anthropic_error = await refusal(anthropic.messages.create({...ask, model: "no/such-model"}));

  const chat = {model: o.chat, max_completion_tokens: 100, messages: ask.messages};
  const completion = await openai.chat.completions.create(chat);
  told.chat = [completion.choices[0].message.content, completion.usage.prompt_tokens, completion.usage.completion_tokens];
  told.chat_id = completion._request_id;
  for (const include_usage of [undefined, true]) {
    const more = include_usage ? {stream_options: {include_usage}} : {};
    let text = "", usage = null, empty = 0;
    for await (const chunk of await openai.chat.completions.create({...chat, stream: true, ...more})) {
      if (chunk.choices.length === 0) empty++;
      else text += chunk.choices[0].delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    told[include_usage ? "chat_stream_usage" : "chat_stream"] = [text, usage?.completion_tokens ?? null, empty];
  }
  const respond = {model: o.chat, max_output_tokens: 100, input: ask.messages[0].content};
  const response = await openai.responses.create(respond);
  told.response = [response.output_text, response.usage.input_tokens, response.usage.output_tokens];
  let types = [];
  for await (const event of await openai.responses.create({...respond, stream: true})) types.push(event.type);
  told.response_stream = types[types.length - 1];
  if (o.embed) {
    const embeddings = await openai.embeddings.create({model: o.embed, input: "hello", encoding_format: "float"});
    told.embedding = [embeddings.data.length, embeddings.usage.prompt_tokens > 0];
  }
  told.openai_models = [];
  for await (const model of openai.models.list()) told.openai_models.push(model.id);
  told.openai_model = (await openai.models.retrieve(o.chat)).id;
  told.openai_error = await refusal(openai.chat.completions.create({...chat, model: "no/such-model"}));
  told.vendor_error = await refusal(openai.chat.completions.create({...chat, messages: said("sim: status=500")}));
  console.log(JSON.stringify(told));
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
