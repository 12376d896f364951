"""The API's description as a page: columns, examples, a command to copy and a form to try it. It fetches nothing.

A page of our own, since a viewer of others is one to three megabytes of script and shows a contract less well: this one
is some kilobytes beside what it tells. What it says comes from the OpenAPI document alone.
"""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from markupsafe import Markup, escape

from everloop.pages import html_page, template

__all__ = ["DocsPage", "docs_page"]

_ANYWHERE: Final = "http://127.0.0.1:8080"  # the page's script puts in where it was loaded from
_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_TITLE: Final = "everloop endpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class DocsPage:
    """The page, and the headers that keep it to itself."""

    html: str
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    name: str
    type: str
    required: bool
    limits: str
    example: str
    description: Markup


def docs_page(document: Mapping[str, Any]) -> DocsPage:
    """The page of an OpenAPI document of ours."""
    groups: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups[operation["tags"][0]].append(_shown(document, path, method, operation))
    told = [(tag["name"], tag["description"], groups[tag["name"]]) for tag in document["tags"]]
    schemes = document["components"].get("securitySchemes", {})
    body = template(_BODY).render(
        info=document["info"], groups=told, key=next(iter(map(_key_header, schemes.values())), None)
    )
    # ours, and it holds nothing of anybody's
    html = html_page(_TITLE, f"<style>{_STYLE}</style>{body}<script>{Markup(_CODE)}</script>", {})  # noqa: S704
    return DocsPage(html=html, headers=_headers(html))


def _headers(html: str) -> tuple[tuple[bytes, bytes], ...]:
    """The page runs its own scripts, asks its own endpoint, and nothing else, whatever stands in it."""
    sums = " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in _SCRIPT.findall(html))
    policy = (
        f"default-src 'none'; script-src {sums}; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return (
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )


def _key_header(scheme: Mapping[str, Any]) -> tuple[str, str]:
    """The header that a key goes into, and what stands before it."""
    if scheme.get("type") == "apiKey" and scheme.get("in") == "header":
        return str(scheme["name"]), ""
    return "authorization", "Bearer "


def _shown(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    nothing: dict[str, Any] = {}
    media, body = next(iter(content.items()), ("", nothing))
    values = [one["value"] for one in body.get("examples", {}).values()]
    examples = [
        (one.get("summary", name), json.dumps(one["value"], indent=2, ensure_ascii=False))
        for name, one in body.get("examples", {}).items()
    ]
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": _words(operation.get("description", "")),
        "columns": list(_columns(document, body.get("schema", {}), _example_row(values))),
        "media": media,
        "examples": examples,
        "curl": _curl(path, media, examples),
        "answer": _answer(operation),
        "responses": [
            (status, _words(_resolved(document, one)["description"])) for status, one in operation["responses"].items()
        ],
    }


def _curl(path: str, media: str, examples: list[tuple[str, str]]) -> str:
    if not examples:
        return f"curl {_ANYWHERE}{path}"
    body = json.dumps(json.loads(examples[0][1]), ensure_ascii=False)
    return f"curl {_ANYWHERE}{path} -H 'content-type: {media}' -d {shlex.quote(body)}"


def _answer(operation: Mapping[str, Any]) -> str:
    """What an answer looks like, where the document shows one."""
    content: dict[str, dict[str, Any]] = operation["responses"]["200"].get("content", {})
    example = next((one["example"] for one in content.values() if "example" in one), None)
    return "" if example is None else json.dumps(example, indent=2, ensure_ascii=False)


def _resolved(document: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in part:
        found: Any = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def _row(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of one row: what `rows` holds, else the first alternative that has properties."""
    schema = _resolved(document, schema)
    rows = schema.get("properties", {}).get("rows")
    if rows is not None and "items" in rows:
        return _row(document, rows["items"])
    if "properties" in schema:
        return schema
    inner = [
        _row(document, one) for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ()))
    ]
    return next((one for one in inner if "properties" in one), {})


def _example_row(values: list[Any]) -> Mapping[str, Any]:
    """The first row that an example holds."""
    for value in values:
        rows = value.get("rows") if isinstance(value, dict) else None
        if rows and isinstance(rows[0], dict):
            return rows[0]
    return {}


def _words(text: str) -> Markup:
    """A sentence of the document, with what stands between backticks as code."""
    parts = [
        escape(part) if at % 2 == 0 else Markup("<code>{}</code>").format(part)
        for at, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def _columns(document: Mapping[str, Any], schema: Mapping[str, Any], example: Mapping[str, Any]) -> Iterator[_Column]:
    """example: a row that shows what a column holds where its schema does not."""
    row = _row(document, schema)
    required = set(row.get("required", ()))
    for name, column in row.get("properties", {}).items():
        column = _resolved(document, column)
        yield _Column(
            name=name,
            type=_type(column),
            required=name in required,
            limits=_limits(column),
            example=", ".join(_plain(value) for value in _examples(name, column, example)),
            description=_words(column.get("description", "")),
        )


def _examples(name: str, column: Mapping[str, Any], example: Mapping[str, Any]) -> list[Any]:
    return list(column.get("examples", ())[:6]) or ([example[name]] if name in example else [])


def _type(column: Mapping[str, Any]) -> str:
    if "enum" in column:
        return " or ".join(_plain(value) for value in column["enum"])
    kinds = column.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    named = ["time" if kind == "string" and column.get("format") == "date-time" else kind for kind in kinds]
    return " or ".join(named)


def _limits(column: Mapping[str, Any]) -> str:
    """The range that is enforced; the 64 bits of every whole number, and those of a `float`, go without saying."""
    if column.get("format") == "float":
        return ""
    low, high = column.get("minimum"), column.get("maximum")
    low, high = (None if low == -(2**63) else low), (None if high == 2**63 - 1 else high)
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is not None:
        return f"≥ {low:g}"
    return "" if high is None else f"≤ {high:g}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_STYLE: Final = """
.everloop nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: 1rem 0; }
.everloop a { color: #2b5f8a; } .everloop h2 { border-top: 1px solid #d9dfe5; padding-top: 1.4rem; }
.everloop details { border: 1px solid #d9dfe5; border-radius: 6px; margin: .6rem 0; }
.everloop summary { cursor: pointer; padding: .5rem .8rem; overflow-wrap: anywhere; }
.everloop summary:focus-visible { outline: 2px solid #2b5f8a; }
.everloop summary b { font: 600 12px/1 ui-monospace, monospace; margin-right: .5rem; }
.everloop summary b.POST { color: #2f7a4f; } .everloop summary b.GET { color: #2b5f8a; }
.everloop summary code { font-size: 14px; } .everloop summary span { color: #616e7c; margin-left: .6rem; }
.everloop .in { padding: 0 .8rem .8rem; }
.everloop h3 { font-size: .95rem; margin: 1.2rem 0 .3rem; }
.everloop td { vertical-align: top; } .everloop td code { white-space: nowrap; }
.everloop table.columns { min-width: 40rem; width: 100%; }
.everloop .what { color: #616e7c; min-width: 12rem; }
.everloop pre, .everloop textarea { font: 13px/1.45 ui-monospace, monospace; background: #f5f7fa; padding: .6rem;
  border: 1px solid #d9dfe5; border-radius: 4px; margin: .3rem 0; width: 100%; box-sizing: border-box; }
.everloop pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.everloop textarea { min-height: 15rem; resize: vertical; background: #fff; color: inherit; }
.everloop button, .everloop select, .everloop input { font: inherit; padding: .2rem .7rem; border: 1px solid #9aa5b1;
  border-radius: 4px; background: #fff; color: inherit; } .everloop button { cursor: pointer; }
.everloop button.send { background: #2b5f8a; border-color: #2b5f8a; color: #fff; }
.everloop .bar { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: .4rem 0; }
.everloop .bad { color: #c8503c; } .everloop .fine { color: #2f7a4f; }
"""

_BODY: Final = """
<h1>{{ info.title }}</h1>
<p>{{ info.description }} The same for programs: <a href="openapi.json">openapi.json</a>.</p>
<nav>{% for name, _, operations in groups %}<a href="#{{ name }}">{{ name }}</a>{% endfor %}</nav>
{% if key %}<div class="bar"><label for="key">Key</label> <input id="key" type="password" autocomplete="off" size="30"
 data-header="{{ key[0] }}" data-before="{{ key[1] }}"> <span class="by">Stays in this page.</span></div>{% endif %}
{% for name, description, operations in groups %}
<h2 id="{{ name }}">{{ name }}</h2>
<p>{{ description }}</p>
{% for one in operations %}
<details id="{{ one.id }}" data-method="{{ one.method }}" data-path="{{ one.path[1:] }}" data-media="{{ one.media }}"
{%- if loop.first and one.columns %} open{% endif %}>
<summary><b class="{{ one.method }}">{{ one.method }}</b><code>{{ one.path }}</code>
<span>{{ one.summary }}</span></summary>
<div class="in">
{% if one.description %}<p>{{ one.description }}</p>{% endif %}
{% if one.columns %}
<h3>A row</h3>
<div class="wide"><table class="columns">
<tr><th>column</th><th>type</th><th>required</th><th>range</th><th>such as</th><th></th></tr>
{% for column in one.columns %}<tr><td><code>{{ column.name }}</code></td><td>{{ column.type }}</td>
<td>{{ "yes" if column.required }}</td><td>{{ column.limits }}</td><td>{{ column.example }}</td>
<td class="what">{{ column.description }}</td></tr>
{% endfor %}</table></div>
{% endif %}
<h3>Try it</h3>
{% if one.examples %}
<div class="bar"><label for="{{ one.id }}-example">Example</label> <select id="{{ one.id }}-example" class="example">
{% for title, value in one.examples %}<option data-value="{{ value }}">{{ title }}</option>{% endfor %}</select></div>
<textarea spellcheck="false" aria-label="The body">{{ one.examples[0][1] }}</textarea>
{% endif %}
<div class="bar"><button class="send" type="button">Send</button>
{% if one.examples %}<span class="by">It is answered and recorded as any request is.</span>{% endif %}</div>
<div class="reply" aria-live="polite"></div>
<h3>From a terminal</h3>
<pre class="curl">{{ one.curl }}</pre>
<button class="copy" type="button">Copy</button>
{% if one.answer %}<h3>An answer</h3><pre>{{ one.answer }}</pre>{% endif %}
<h3>Status</h3>
<table>{% for status, said in one.responses %}<tr><td><code>{{ status }}</code></td><td>{{ said }}</td></tr>
{% endfor %}</table>
</div>
</details>
{% endfor %}{% endfor %}
"""

_CODE: Final = r"""
"use strict";
const key = document.getElementById("key");
const quoted = text => "'" + text.replaceAll("'", "'\\''") + "'";
function compact(text) {
  try { return JSON.stringify(JSON.parse(text)); } catch (error) { return text; }
}
function headersFor(box) {
  const headers = {};
  if (box.dataset.media) headers["content-type"] = box.dataset.media;
  if (key && key.value) headers[key.dataset.header] = key.dataset.before + key.value;
  return headers;
}
function show(box, words, good, text) {
  const place = box.querySelector(".reply"), line = document.createElement("p"), shown = document.createElement("pre");
  line.textContent = words;
  line.className = good ? "fine" : "bad";
  shown.textContent = text;
  place.replaceChildren(line, ...(text ? [shown] : []));
}
async function send(box) {
  const body = box.querySelector("textarea"), began = performance.now();
  const asked = {method: box.dataset.method, headers: headersFor(box), cache: "no-store"};
  if (body) asked.body = body.value;
  try {
    const reply = await fetch(new URL(box.dataset.path, document.baseURI), asked);
    const text = await reply.text(), id = reply.headers.get("x-request-id");
    const took = (performance.now() - began).toFixed(0);
    let pretty = text;
    if ((reply.headers.get("content-type") || "").includes("json")) {
      try { pretty = JSON.stringify(JSON.parse(text), null, 2); } catch (error) { pretty = text; }
    }
    show(box, `${reply.status} in ${took} ms` + (id ? `, request ${id}` : ""), reply.ok, pretty);
  } catch (error) {
    show(box, "No answer: is the endpoint still up?", false, String(error));
  }
}
for (const box of document.querySelectorAll("details")) {
  const body = box.querySelector("textarea"), curl = box.querySelector(".curl"), choice = box.querySelector(".example");
  const copy = box.querySelector(".copy");
  const write = () => {
    const address = new URL(box.dataset.path, document.baseURI).href;
    let words = "curl " + address;
    if (body) words += " -H " + quoted("content-type: " + box.dataset.media) + " -d " + quoted(compact(body.value));
    curl.textContent = words;
  };
  write();
  if (body) body.addEventListener("input", write);
  if (choice) choice.addEventListener("change", () => {
    body.value = choice.selectedOptions[0].dataset.value;
    write();
  });
  box.querySelector(".send").addEventListener("click", () => send(box));
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(curl.textContent);
      copy.textContent = "Copied";
    } catch (error) {  // without TLS a browser lets no page write there
      getSelection().selectAllChildren(curl);
      copy.textContent = "Selected";
    }
  });
}
if (location.hash) {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named && named.tagName === "DETAILS") named.open = true;
}
"""
