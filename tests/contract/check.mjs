// Checks calls against the descriptions that forges give of their APIs (OpenAPI 3 or Swagger 2), with a validator that is not ours.
//
//   node check.mjs FOLDER DESCRIPTION < EXCHANGES
//
// FOLDER has the node_modules, EXCHANGES is a list of {method, path, query, body, status, answer}. Prints what is wrong, one a line.
// A request has to be one that the forge takes: path, parameters, body. An answer may be a part of what the forge would send: what
// is in it has to be what the forge has there.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, file] = process.argv.slice(2);
const require = createRequire(resolve(folder, "node_modules") + "/");
const Ajv = require("ajv").default;
const addFormats = require("ajv-formats").default;

// Gitea's is a template, whose only gaps are texts.
const api = JSON.parse(readFileSync(file, "utf8").replace(/\{\{[^}]*\}\}/g, "x"));
const exchanges = JSON.parse(readFileSync(0, "utf8"));

const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: true });
addFormats(ajv);
for (const format of ["int32", "int64", "float", "double", "timestamp", "repo.nwo", "url", "alnum"]) ajv.addFormat(format, true);

const follow = (value) => {
  while (value && value.$ref) {
    value = value.$ref.slice(2).split("/").reduce((at, key) => at[key.replace(/~1/g, "/").replace(/~0/g, "~")], api);
  }
  return value;
};

// A schema without references. What is asked for of a part of an answer is that nothing else is in it; `part` is "open" where others
// of several schemas have the rest.
const whole = (schema, part, depth = 0) => {
  schema = follow(schema);
  if (!schema || depth > 8) return {};
  const { required, discriminator, example, examples, description, default: _, readOnly, ...rest } = schema;
  const out = { ...rest };
  if (!part && required) out.required = required;
  if (rest.nullable && !rest.type) return {};
  for (const key of ["allOf", "anyOf", "oneOf"]) {
    if (!rest[key]) continue;
    const of_each = part && key === "allOf" ? "open" : part;
    // A part may fit several.
    if (part && key === "oneOf") delete out.oneOf;
    out[part && key === "oneOf" ? "anyOf" : key] = rest[key].map((one) => whole(one, of_each, depth + 1));
  }
  const below = part && "closed";
  if (rest.items) out.items = whole(rest.items, below, depth + 1);
  if (rest.properties) {
    out.properties = Object.fromEntries(
      Object.entries(rest.properties).map(([key, value]) => [key, whole(value, below, depth + 1)]),
    );
    const is_closed = !rest.allOf && !rest.anyOf && !rest.oneOf && rest.additionalProperties === undefined;
    if (part === "closed" && is_closed) out.additionalProperties = false;
  } else if (typeof rest.additionalProperties === "object") {
    out.additionalProperties = whole(rest.additionalProperties, below, depth + 1);
  }
  // Swagger 2 does not say what may be null.
  if (part && api.swagger && out.type) return { anyOf: [out, { type: "null" }] };
  return out;
};

const base = api.basePath && api.basePath !== "x/api/v1" ? api.basePath : "";
const templates = Object.keys(api.paths).map((path) => {
  const parts = (base + path).split("/");
  return { path, parts, fixed: parts.filter((part) => !part.startsWith("{")).length };
});

// GitHub takes `/repositories/ID` wherever its description says `/repos/OWNER/NAME`.
const as_described = (path) => (api.swagger ? path : path.replace(/^\/repositories\/(\d+)/, "/repos/owner/$1"));

const operation_of = (method, path) => {
  const parts = as_described(path).split("/");
  const fits = ({ parts: template }) =>
    template.length === parts.length && template.every((part, at) => part.startsWith("{") || part === parts[at]);
  const found = templates.filter(fits).sort((a, b) => b.fixed - a.fixed);
  for (const { path: template } of found) {
    const item = api.paths[template];
    if (item[method.toLowerCase()]) return { item, operation: item[method.toLowerCase()], template };
  }
};

const problems = [];
const compare = (what, schema, value) => {
  const valid = ajv.compile(schema);
  if (valid(value)) return;
  const said = valid.errors.slice(0, 4).map((one) => `${one.instancePath || "/"} ${one.message} ${JSON.stringify(one.params)}`);
  problems.push(`${what}: ${said.join("; ")}`);
};

for (const { method, path, query, body, status, answer } of exchanges) {
  const what = `${method} ${path}`;
  const found = operation_of(method, path);
  if (!found) {
    problems.push(`${what}: there is no such call`);
    continue;
  }
  const { item, operation } = found;
  const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(follow);
  for (const [name, text] of new URLSearchParams(query)) {
    const parameter = parameters.find((one) => one.in === "query" && one.name === name);
    if (!parameter) {
      problems.push(`${what}: no parameter ${name}`);
      continue;
    }
    const schema = whole(parameter.schema ?? { type: parameter.type, enum: parameter.enum }, false);
    const value = schema.type === "integer" ? Number(text) : text;
    compare(`${what}?${name}`, schema, value);
  }
  const described = follow(operation.requestBody)?.content?.["application/json"]?.schema ?? parameters.find((one) => one.in === "body")?.schema;
  if (body !== null && !described) problems.push(`${what}: it takes no body`);
  if (body !== null && described) compare(`${what}, body`, whole(described, false), body);
  if (status >= 300) continue;
  const response = follow(operation.responses[String(status)]);
  if (!response) {
    problems.push(`${what}: it never answers ${status}`);
    continue;
  }
  const said = response.content?.["application/json"]?.schema ?? response.schema;
  if (answer !== null && said) compare(`${what}, answer`, whole(said, "closed"), answer);
}
console.log(problems.join("\n"));
