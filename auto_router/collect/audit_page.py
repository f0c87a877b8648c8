"""The audit page: a template, its style and its script. Values are escaped by the template engine; the script reads no text."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Label audit</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'nonce-{{ nonce }}'; script-src 'nonce-{{ nonce }}'">
<style nonce="{{ nonce }}">{{ style|safe }}</style></head><body>
<header><h1>Is each answer right?</h1>
<p>Mark the <em>answer</em>, not the verdict. Then save the marks and read them with
<code>python prepare_hf_data.py --audit-import FILE</code>. Marks stay in this browser until you save them.</p>
<p><button id="save" type="button">Save marks</button> <span id="progress"></span></p></header>
<main>{% for case in cases %}
<article data-id="{{ case.id }}" data-model="{{ case.model }}" data-by="{{ case.outcome.verdict.by }}"
 data-score="{{ '' if case.outcome.verdict.score is none else case.outcome.verdict.score }}"
 data-source="{{ case.question.source or '' }}" data-idx="{{ case.question.idx }}">
<h2>{{ loop.index }}. {{ case.model }}{% if case.question.source %} · {{ case.question.source }}{% endif %}</h2>
<h3>Prompt</h3><pre>{{ case.question.prompt }}</pre>
{% for picture in case.pictures %}<img alt="picture of the prompt" src="{{ picture }}">{% endfor %}
<div class="pair"><div><h3>Reference</h3><pre>{{ case.question.answer }}</pre></div>
<div><h3>Answer</h3><pre>{{ case.text }}</pre></div></div>
<details><summary>Verdict</summary><p>
{%- if case.outcome.verdict.score is none %}none: {{ case.outcome.verdict.reason }}
{%- else %}{{ case.outcome.verdict.score }} by {{ case.outcome.verdict.by }} ({{ case.outcome.verdict.reason }})
{%- if case.outcome.verdict.why %}: {{ case.outcome.verdict.why }}{% endif %}{% endif %}</p></details>
<p class="marks">{% for mark in marks %}<label><input type="radio" name="{{ case.id }}" value="{{ mark }}">
{{ mark }}</label> {% endfor %}</p></article>
{% endfor %}</main>
<script nonce="{{ nonce }}">{{ script|safe }}</script></body></html>
"""

STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem;
  color: #1a1a1a; background: #fff }
article { border: 1px solid #c8c8c8; border-radius: 6px; padding: 0 1rem 1rem; margin: 1rem 0 }
article.marked { border-left: 6px solid #2a7d4f }
h2 { font-size: 1.05rem } h3 { font-size: .85rem; margin: .6rem 0 .2rem; color: #555 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: .5rem; margin: 0;
  max-height: 24rem; overflow: auto }
img { max-width: 100%; margin: .5rem .5rem 0 0; border: 1px solid #ddd }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem } label { margin-right: 1.2rem }
"""

SCRIPT = """
"use strict";
const articles = [...document.querySelectorAll("article")];
const name = "audit " + articles.map(a => a.dataset.id).join("").slice(0, 64);
let kept = {};
try { kept = JSON.parse(localStorage.getItem(name) || "{}"); } catch { kept = {}; }
function show() {
  let done = 0;
  for (const article of articles) {
    const mark = kept[article.dataset.id];
    article.classList.toggle("marked", Boolean(mark));
    for (const input of article.querySelectorAll("input")) input.checked = input.value === mark;
    done += mark ? 1 : 0;
  }
  document.getElementById("progress").textContent = done + " of " + articles.length + " marked";
}
document.addEventListener("change", event => {
  kept[event.target.name] = event.target.value;
  try { localStorage.setItem(name, JSON.stringify(kept)); } catch { /* private windows keep nothing */ }
  show();
});
document.getElementById("save").addEventListener("click", () => {
  const cases = articles.filter(a => kept[a.dataset.id]).map(a => ({
    id: a.dataset.id, idx: Number(a.dataset.idx), model: a.dataset.model, source: a.dataset.source, by: a.dataset.by,
    score: a.dataset.score === "" ? null : Number(a.dataset.score), mark: kept[a.dataset.id]}));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify({format: 1, cases: cases}, null, 1)], {type: "application/json"}));
  link.download = "hf_audit_marks.json";
  link.click();
});
show();
"""
