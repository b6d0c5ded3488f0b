"use strict";

// node makes an element; text is set as text, so that nothing of the document is run.
function node(name, text, ...children) {
  const e = document.createElement(name);
  if (text) e.textContent = text;
  e.append(...children);
  return e;
}

function table(heads, rows) {
  const line = (cell, values) => node("tr", "", ...values.map((v) => node(cell, v)));
  return node("table", "", line("th", heads), ...rows.map((r) => line("td", r)));
}

// inline replaces references by what they name, one level of each name deep.
function inline(doc, value, seen = []) {
  if (Array.isArray(value)) return value.map((v) => inline(doc, v, seen));
  if (value === null || typeof value !== "object") return value;
  if (value.$ref) {
    if (seen.includes(value.$ref)) return { $ref: value.$ref };
    const target = value.$ref.slice(2).split("/").reduce((o, k) => o[k], doc);
    return inline(doc, target, [...seen, value.$ref]);
  }
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, inline(doc, v, seen)]));
}

function schema(doc, title, content) {
  const media = content && content["application/json"];
  if (!media) return [];
  const text = JSON.stringify(inline(doc, media.schema), null, 2);
  return [node("details", "", node("summary", title), node("pre", text))];
}

function operation(doc, method, path, op) {
  const out = node("article", "", node("h2", op.summary || op.operationId), node("pre", `${method.toUpperCase()} ${path}`));
  out.id = op.operationId;
  if (op.description) out.append(node("p", op.description));
  if (op.parameters) {
    out.append(table(["parameter", "in", "meaning"], op.parameters.map((p) => [p.name, p.in, p.description || (p.schema || {}).description || ""])));
  }
  if (op.requestBody) out.append(...schema(doc, "Request body", op.requestBody.content));
  for (const [status, r] of Object.entries(op.responses)) {
    out.append(node("h3", `${status} ${r.description}`), ...schema(doc, "Answer", r.content));
  }
  return out;
}

// contents leads to each operation.
function contents(all) {
  const list = node("ul");
  for (const { method, path, op } of all) {
    const link = node("a", op.summary || op.operationId);
    link.href = `#${op.operationId}`;
    list.append(node("li", "", link, " ", node("code", `${method.toUpperCase()} ${path}`)));
  }
  const nav = node("nav", "", list);
  nav.setAttribute("aria-label", "Operations");
  return nav;
}

// auth says how a caller shows who it is.
function auth(doc) {
  const schemes = (doc.components || {}).securitySchemes || {};
  return Object.values(schemes).map((s) => node("p", `Authorization: ${s.scheme}. ${s.description || ""}`));
}

async function show() {
  const doc = await (await fetch("/openapi.json")).json();
  document.title = doc.info.title;
  document.getElementById("title").textContent = `${doc.info.title} ${doc.info.version}`;
  document.getElementById("about").textContent = doc.info.description || "";
  const all = [];
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const method of ["get", "post", "put", "patch", "delete"]) {
      if (item[method]) all.push({ method, path, op: item[method] });
    }
  }
  const main = document.getElementById("operations");
  main.append(...auth(doc), contents(all), ...all.map(({ method, path, op }) => operation(doc, method, path, op)));
  if (location.hash) location.replace(location.hash); // what it names is there only now
}

show().catch((e) => document.getElementById("operations").append(node("p", `The document could not be shown: ${e}`)));
