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
