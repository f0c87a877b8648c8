"use strict";
/* The page: draws the charts, runs the explorer, and lists wrongly routed prompts. Data reaches the page as text only. */
const data = JSON.parse(document.getElementById("data").textContent);
const test = explorer.open(data.explorer);
const $ = id => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in node && name !== "list") node[name] = value; else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const number = (value, digits = 3) => Number.isNaN(value) ? "–" : value.toFixed(digits);
const percent = value => Number.isNaN(value) ? "–" : (100 * value).toFixed(1) + "%";
const points = value => Number.isNaN(value) ? "–" : (value < 0 ? "−" : "+") + Math.abs(100 * value).toFixed(1);
const money = value => Number.isNaN(value) ? "unknown"
  : value.toLocaleString("en", {maximumSignificantDigits: 4, minimumSignificantDigits: 2});

/* Charts: Bokeh draws on canvases, so the colours of the style sheet are handed over, now and when they change. */
const TEXT = ["axis_label_text_color", "major_label_text_color", "label_text_color", "text_color"];
const LINES = ["axis_line_color", "major_tick_line_color", "minor_tick_line_color"];
function paint() {
  const style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue("--" + name).trim();
  for (const doc of Bokeh.documents) {
    for (const model of doc._all_models.values()) {
      const set = {};
      const has = name => name in model.properties;
      for (const name of TEXT) if (has(name)) set[name] = colour("ink");
      for (const name of LINES) if (has(name)) set[name] = colour("soft");
      if (has("grid_line_color")) set.grid_line_color = colour("line");
      if (has("background_fill_color") && has("label_text_color")) set.background_fill_color = colour("paper");
      if (has("ncols") && has("label_text_color")) set.ncols = innerWidth < 640 ? 1 : 2;
      if (has("outline_line_color")) set.outline_line_color = colour("line");
      if (has("border_line_color") && has("label_text_color")) set.border_line_color = colour("line");
      for (const tag of model.tags) {
        const [kind, name] = String(tag).split(":");
        if (has(kind + "_color")) set[kind + "_color"] = colour(name);
      }
      if (Object.keys(set).length) model.setv(set);
    }
  }
}

const sources = {};
async function draw() {
  Bokeh.set_log_level("error");
  for (const [id, item] of Object.entries(data.charts)) await Bokeh.embed.embed_item(item, id);
  for (const doc of Bokeh.documents) {
    for (const model of doc._all_models.values()) {
      if (String(model.name).startsWith("explorer-")) sources[model.name] = model;
    }
  }
  paint();
  show();
  document.documentElement.dataset.drawn = "yes";
}

/* The explorer. `state.costs` are USD per 1,000 prompts; they decide only where the rule weighs costs. */
const RULES = {
  "cheapest qualified": "Of the models whose P(correct) reaches their threshold, the cheapest.",
  "most likely right": "Of the models whose P(correct) reaches their threshold, the one with the highest P(correct); costs only count what it comes to.",
};
const defaults = test.prices.map(price => 1000 * price);
const known = defaults.filter(cost => cost > 0);
const least = known.length ? Math.min(...known) / 20 : 0.001, most = known.length ? Math.max(...known) * 5 : 100;
const STEPS = 1000;
let state = null;

function start(rule, thresholds = {}, costs = null) {
  return {
    rule, thresholds: test.models.map(name => thresholds[name] || 0), fallback: "",
    costs: test.models.map((name, j) => costs && name in costs ? costs[name] : defaults[j]), moved: costs !== null,
    month: state ? state.month : 100000,
  };
}

function served() {
  const given = data.explorer.served, thresholds = given.model_thresholds || {}, costs = given.model_costs || {};
  const rule = given.operating_point || (Object.keys(costs).length ? "cheapest qualified" : "most likely right");
  return start(rule, thresholds, Object.keys(costs).length ? costs : null);
}

function everyone(threshold) {
  return start("cheapest qualified", Object.fromEntries(test.models.map(name => [name, threshold])));
}

const isPoint = JSON.stringify(settings(served())) === JSON.stringify({operating_point: served().rule});
const PRESETS = isPoint ? {} : {"as assessed": served};
for (const name of Object.keys(test.points)) PRESETS[name] = () => start(name);
if (known.length) {
  PRESETS["cheapest with P ≥ 0.5"] = () => everyone(0.5);
  PRESETS["cheapest with P ≥ 0.7"] = () => everyone(0.7);
}
PRESETS["most likely right"] = () => start("most likely right");

/* The state in ModelRouter's own terms. */
function settings(of) {
  const found = {}, point = of.rule in test.points;
  const thresholds = Object.fromEntries(test.models.map((name, j) => [name, of.thresholds[j]]).filter(([, value]) => !point || value > 0));
  if (Object.keys(thresholds).length) found.model_thresholds = thresholds;
  const costs = Object.fromEntries(test.models.map((name, j) => [name, of.costs[j]]).filter(([, value]) => !Number.isNaN(value)));
  const weighs = of.rule === "cheapest qualified" || (point && of.moved);
  if (weighs && Object.keys(costs).length) found.model_costs = costs;
  if (of.fallback) found.fallback_model = of.fallback;
  if (point) found.operating_point = of.rule;
  return found;
}

function evaluate(given, costs = null) {
  const prices = (costs || defaults).map(cost => cost / 1000);
  const exact = prices.map((price, j) => costs === null || costs[j] === defaults[j] ? test.prices[j] : price);
  return explorer.measure(test, explorer.choose(test, explorer.serve(test, given)), exact);
}

function show() {
  const given = settings(state), found = evaluate(given, state.costs);
  const perThousand = 1000 * found.cost, month = found.cost * state.month;
  const text = {
    "x-accuracy": [found.accuracy, percent(found.accuracy)],
    "x-difference": [found.minus_best_single, points(found.minus_best_single) + " ± " + (196 * found.error).toFixed(1) + " points on the best single model"],
    "x-cost": [perThousand, money(perThousand)],
    "x-share": [found.cost_share, Number.isNaN(found.cost_share) ? "" : percent(found.cost_share) + " of the best single model's"],
    "x-month": [month, money(month)],
    "x-saved": [month, Number.isNaN(found.cost_share) || found.cost_share === 0 ? "" : saving(month / found.cost_share - month)],
    "x-changed": [found.changed, percent(found.changed)],
    "x-answers": [found.gained - found.lost, found.gained + " answers gained, " + found.lost + " lost"],
  };
  for (const [id, [value, words]] of Object.entries(text)) { $(id).textContent = words; $(id).dataset.value = String(value); }
  test.models.forEach((name, j) => {
    const row = $("sliders").children[j];
    row.querySelector(".bar div").style.width = 100 * found.shares[j] + "%";
    const share = row.querySelector(".share");
    share.textContent = percent(found.shares[j]);
    share.dataset.value = String(found.shares[j]);
    row.querySelectorAll("input").forEach(input => {
      const value = state[input.dataset.of][j];
      const wanted = input.type === "number" ? (Number.isNaN(value) ? "" : String(+value.toPrecision(6))) : String(position(input.dataset.of, value));
      if (input.value !== wanted && document.activeElement !== input) input.value = wanted;
      if (input.type === "range" && input.dataset.of === "costs") input.setAttribute("aria-valuetext", money(value) + " USD per 1,000");
    });
  });
  $("month").value = String(state.month);
  $("month-slider").value = String(monthPosition(state.month));
  $("month-slider").setAttribute("aria-valuetext", state.month.toLocaleString("en") + " prompts");
  $("rule").value = state.rule;
  $("fallback").value = state.fallback;
  $("rule-says").textContent = state.rule in test.points
    ? "Operating point, fitted on training rows to: " + test.points[state.rule].aim + "." + (state.moved ? " Your costs replace those it was fitted with." : "")
    : RULES[state.rule];
  for (const button of $("presets").children) {
    const same = JSON.stringify([settings(PRESETS[button.textContent]()), state.costs]) === JSON.stringify([given, PRESETS[button.textContent]().costs]);
    button.setAttribute("aria-pressed", String(same));
  }
  $("code-python").textContent = python(given);
  $("code-yaml").textContent = yaml(given);
  say(found);
  if (sources["explorer-here"]) {
    const prices = state.costs.map((cost, j) => cost === defaults[j] ? test.prices[j] : cost / 1000);
    const singles = test.models.map((name, j) => ({name, ...explorer.alone(test, prices, j)})).filter(one => !Number.isNaN(one.cost));
    const middle = Math.max(...singles.map(one => one.cost)) / 2;
    sources["explorer-singles"].data = {x: singles.map(o => 1000 * o.cost), y: singles.map(o => o.accuracy), name: singles.map(o => o.name),
      side: singles.map(o => o.cost > middle ? "right" : "left"), away: singles.map(o => o.cost > middle ? -9 : 9)};
    const placed = Number.isNaN(perThousand) ? [] : [perThousand];
    sources["explorer-here"].data = {x: placed, y: placed.map(() => found.accuracy), name: placed.map(() => "these settings")};
  }
}

function saving(usd) {
  if (Math.abs(usd) < 1e-9) return "as much as the best single model";
  return usd > 0 ? money(usd) + " less than the best single model" : money(-usd) + " more than the best single model";
}

/* Told once the settings rest: a screen reader is not to be talked over. */
let telling = 0;
function say(found) {
  clearTimeout(telling);
  telling = setTimeout(() => {
    $("x-says").textContent = "Accuracy " + percent(found.accuracy) + ", " + points(found.minus_best_single) + " points on always " +
      test.models[test.best_single] + (Number.isNaN(found.cost_share) ? "." : ", at " + percent(found.cost_share) + " of its cost.");
  }, 400);
}

let waiting = false;
function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; show(); });
}

function position(of, value) {
  if (of === "thresholds") return value;
  if (!(value > 0)) return 0;
  return Math.round(STEPS * Math.min(1, Math.max(0, Math.log(value / least) / Math.log(most / least))));
}

function costAt(place) {
  return place <= 0 ? 0 : +(least * Math.exp(place / STEPS * Math.log(most / least))).toPrecision(3);
}

const monthPosition = value => value <= 0 ? 0 : Math.round(Math.min(100, Math.max(1, 100 * Math.log10(value / 100) / 6)));
const monthAt = place => place <= 0 ? 0 : +(100 * 10 ** (6 * place / 100)).toPrecision(2);

function set(of, j, value) {
  state[of][j] = value;
  if (of === "costs") state.moved = true;
  later();
}

function controls() {
  for (const [title, preset] of Object.entries(PRESETS)) {
    $("presets").append(make("button", {type: "button", textContent: title, onclick: () => { state = preset(); show(); }}));
  }
  const setting = (of, j, words, range, box, read) => {
    const label = words + " of " + test.models[j];
    return make("div", {className: "setting"}, make("span", {textContent: words, "aria-hidden": "true"}),
      make("input", {type: "range", ...range, "aria-label": label + ", slider", "data-of": of, oninput: event => set(of, j, read(+event.target.value))}),
      make("input", {type: "number", ...box, "aria-label": label, "data-of": of, onchange: event => set(of, j, event.target.value === "" ? NaN : Math.max(0, +event.target.value))}));
  };
  test.models.forEach((name, j) => {
    const title = make("div", {className: "name"}, make("strong", {textContent: name}), make("div", {className: "bar", "aria-hidden": "true"}, make("div")),
      make("span", {className: "share"}), " of prompts");
    $("sliders").append(make("div", {className: "model", role: "group", "aria-label": name}, title,
      setting("thresholds", j, "threshold", {min: 0, max: 1, step: 0.01}, {min: 0, max: 1, step: 0.01}, value => value),
      setting("costs", j, "USD / 1,000", {min: 0, max: STEPS, step: 1}, {min: 0, step: "any"}, costAt)));
  });
  for (const rule of [...Object.keys(test.points), ...Object.keys(RULES)]) $("rule").append(make("option", {value: rule, textContent: rule}));
  for (const name of ["", ...test.models]) $("fallback").append(make("option", {value: name, textContent: name || "(highest P)"}));
  $("rule").onchange = event => { state.rule = event.target.value; show(); };
  $("fallback").onchange = event => { state.fallback = event.target.value; show(); };
  $("month").onchange = event => { state.month = Math.max(0, +event.target.value || 0); show(); };
  $("month-slider").oninput = event => { state.month = monthAt(+event.target.value); later(); };
  for (const [id, what] of [["copy-python", "code-python"], ["copy-yaml", "code-yaml"]]) $(id).onclick = () => copy($(what));
}

/* JSON strings are valid in Python and in YAML. */
function python(given) {
  const lines = Object.entries(given).map(([name, value]) => "    " + name + "=" + (typeof value === "string" ? JSON.stringify(value)
    : "{\n" + Object.entries(value).map(([model, number]) => "        " + JSON.stringify(model) + ": " + number + ",\n").join("") + "    }") + ",\n");
  return "from auto_router import ModelRouter\n\nrouter = ModelRouter(\n    \"router_artifacts/nn_router.pth\",\n" + lines.join("") + ")";
}

function yaml(given) {
  const lines = Object.entries(given).map(([name, value]) => "    " + name + ":" + (typeof value === "string" ? " " + JSON.stringify(value) + "\n"
    : "\n" + Object.entries(value).map(([model, number]) => "      " + JSON.stringify(model) + ": " + number + "\n").join("")));
  return "functions:\n  nn_objective_fn:\n    _type: nn_objective_fn\n" + lines.join("").trimEnd();
}

async function copy(node) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    $("copied").textContent = "copied";
  } catch {
    getSelection().selectAllChildren(node);
    $("copied").textContent = "selected: press Ctrl-C";
  }
}

/* Wrongly routed prompts, a page at a time. */
const PAGE = 10;
let first = 0;
function matching() {
  const words = $("find").value.toLowerCase();
  return data.wrong.rows.filter(row => (!$("by-chosen").value || row.chosen === $("by-chosen").value)
    && (!$("by-source").value || row.source === $("by-source").value)
    && (!words || [row.idx, row.source, row.prompt || "", row.answer || ""].join(" ").toLowerCase().includes(words)));
}

function list() {
  const rows = matching();
  first = Math.max(0, Math.min(first, Math.floor((rows.length - 1) / PAGE) * PAGE));
  const shown = rows.slice(first, first + PAGE);
  $("wrong-table").tBodies[0].replaceChildren(...shown.map(row => {
    const pictures = (row.pictures || []).map((src, k) => make("img", {src, alt: "picture " + (k + 1) + " of prompt " + row.idx}));
    const words = row.prompt === undefined ? "(left out)" : row.prompt;
    return make("tr", {}, make("td", {textContent: row.idx}), make("td", {textContent: row.source}),
      make("td", {className: "text"}, words, ...pictures), make("td", {className: "text", textContent: row.answer || ""}),
      make("td", {textContent: row.chosen + ", " + (row.p === null ? "–" : row.p.toFixed(2))}), make("td", {textContent: row.right.join(", ")}));
  }));
  $("place").textContent = rows.length ? (first + 1) + " to " + (first + shown.length) + " of " + rows.length : "none";
  $("before").disabled = first === 0;
  $("after").disabled = first + PAGE >= rows.length;
}

function browse() {
  for (const [id, key] of [["by-chosen", "chosen"], ["by-source", "source"]]) {
    $(id).append(make("option", {value: "", textContent: "any"}));
    for (const value of new Set(data.wrong.rows.map(row => row[key]))) if (value) $(id).append(make("option", {value, textContent: value}));
    $(id).onchange = () => { first = 0; list(); };
  }
  $("find").oninput = () => { first = 0; list(); };
  $("before").onclick = () => { first -= PAGE; list(); };
  $("after").onclick = () => { first += PAGE; list(); };
  list();
}

function themes() {
  const dark = () => document.documentElement.dataset.theme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  const tell = () => { $("theme").textContent = dark() ? "Light" : "Dark"; };
  $("theme").onclick = () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; tell(); paint(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { tell(); paint(); });
  addEventListener("resize", paint);
  tell();
}

controls();
browse();
themes();
state = served();
show();
draw();
