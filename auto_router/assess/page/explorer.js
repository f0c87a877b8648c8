"use strict";
/* The decision and its measures on the test rows, for the page's explorer; no document is touched here.

   `choose` and `serve` are auto_router/decide/rule.py and policy.py once more, in the one language a page can run.
   tests/assess/test_explorer.py holds them to the Python ones. Unknown is NaN in arrays and null in JSON. */
const explorer = (() => {
  const GUARDED = 0, QUALIFIED = 1, FALLBACK = 2, ALLOWED = 3, FORBIDDEN = 4;

  function bytes(text) {
    return Uint8Array.from(atob(text), character => character.charCodeAt(0));
  }

  function floats(text) {
    return new Float32Array(bytes(text).buffer);
  }

  /* Unpack what auto_router/assess/explorer.py packed: tables of `rows` x `models`, row by row. */
  function open(packed) {
    const cells = packed.rows * packed.models.length;
    const bits = bytes(packed.eligible);
    const eligible = new Uint8Array(cells);
    for (let i = 0; i < cells; i++) eligible[i] = (bits[i >> 3] >> (7 - (i & 7))) & 1;
    const outcomes = new Float32Array(cells);
    if (packed.graded) outcomes.set(floats(packed.outcomes));
    else bytes(packed.outcomes).forEach((value, i) => { outcomes[i] = value === 255 ? NaN : value; });
    return {
      ...packed, eligible, outcomes,
      probabilities: floats(packed.probabilities),
      groups: new Uint32Array(bytes(packed.groups).buffer),
      rowCosts: packed.row_costs === null ? null : floats(packed.row_costs),
      expected: packed.expected === null ? null : floats(packed.expected),
      prices: packed.prices.map(price => price === null ? NaN : price),
    };
  }

  function perModel(test, values) {
    if (!values || !Object.keys(values).length) return null;
    return test.models.map(name => name in values ? values[name] : NaN);
  }

  function penalties(test, point, costs) {
    if (costs === null || !point.by_cost) return point.penalties;
    const known = costs.filter(cost => !Number.isNaN(cost));
    const found = costs.map(() => 0);
    if (point.cost_weight > 0 && known.length) {
      const highest = Math.max(...known);
      const mean = Math.max(known.reduce((sum, cost) => sum + cost, 0) / known.length, 1e-30);
      costs.forEach((cost, j) => { found[j] += point.cost_weight * (Number.isNaN(cost) ? highest : cost) / mean; });
    }
    const place = test.models.indexOf(point.default);
    if (place >= 0) found[place] -= point.margin;
    return found;
  }

  /* What each model's answer to each row is expected to cost, in units of P, row by row. */
  function rowHandicaps(test, point) {
    const models = test.models.length, found = new Float64Array(test.rows * models);
    const place = test.models.indexOf(point.default);
    for (let i = 0; i < test.rows; i++) {
      let highest = NaN;
      for (let j = 0; j < models; j++) {
        const cost = test.expected[i * models + j];
        if (!Number.isNaN(cost) && !(highest >= cost)) highest = cost;
      }
      for (let j = 0; j < models; j++) {
        const cost = test.expected[i * models + j];
        if (point.cost_weight > 0 && point.mean_cost !== null) {
          found[i * models + j] = point.cost_weight * (Number.isNaN(cost) ? highest || 0 : cost) / point.mean_cost;
        }
        if (j === place) found[i * models + j] -= point.margin;
      }
    }
    return found;
  }

  /* The policy that settings in ModelRouter's own terms come to. */
  function serve(test, settings) {
    const thresholds = perModel(test, settings.model_thresholds);
    const costs = perModel(test, settings.model_costs);
    let name = settings.operating_point || null;
    if (name === null && thresholds === null) {
      name = costs !== null && "balanced" in test.points ? "balanced" : test.default_point;
    }
    let prices = null;
    if (name !== null) prices = penalties(test, test.points[name], costs);
    else if (thresholds === null && costs !== null) prices = test.models.map(() => 0);
    const fallback = settings.fallback_model ? test.models.indexOf(settings.fallback_model) : -1;
    const priced = name !== null && test.points[name].by_cost && costs === null && test.expected !== null;
    const byRow = priced ? rowHandicaps(test, test.points[name]) : null;
    return {thresholds, costs, fallback, penalties: prices, byRow, operatingPoint: name};
  }

  /* The model that each row goes to: the least by tier, then by order, then by -P, then by place. */
  function choose(test, policy) {
    const models = test.models.length;
    const floor = test.models.map((_, j) => policy.thresholds === null ? 0 : policy.thresholds[j] || 0);
    const chosen = new Int32Array(test.rows);
    for (let i = 0; i < test.rows; i++) {
      let best = -1, bestTier = Infinity, bestOrder = Infinity, bestP = -Infinity;
      for (let j = 0; j < models; j++) {
        const raw = test.probabilities[i * models + j];
        const p = Number.isNaN(raw) ? -Infinity : raw;
        const open = test.eligible[i * models + j] === 1;
        const qualified = open && (p >= floor[j] || floor[j] <= 0);
        const guarded = open && test.guarded !== null && test.guarded.model === j && test.guarded.rows[i];
        const tier = guarded ? GUARDED : qualified ? QUALIFIED : !open ? FORBIDDEN : j === policy.fallback ? FALLBACK : ALLOWED;
        let order = 0;
        if (qualified && policy.penalties !== null) order = (policy.byRow === null ? policy.penalties[j] : policy.byRow[i * models + j]) - p;
        else if (qualified && policy.costs !== null) order = Number.isNaN(policy.costs[j]) ? Infinity : policy.costs[j];
        const better = tier !== bestTier ? tier < bestTier : order !== bestOrder ? order < bestOrder : p > bestP;
        if (best < 0 || better) [best, bestTier, bestOrder, bestP] = [j, tier, order, p];
      }
      chosen[i] = best;
    }
    return chosen;
  }

  /* USD of asking model j in row i, at `prices` (USD a prompt): recorded costs keep their shape and change their level. */
  function costOf(test, prices, i, j) {
    if (test.rowCosts === null) return prices[j];
    const cost = test.rowCosts[i * test.models.length + j];
    return test.prices[j] > 0 && prices[j] !== test.prices[j] ? cost * (prices[j] / test.prices[j]) : cost;
  }

  function mean(values) {
    let sum = 0, count = 0;
    for (const value of values) if (!Number.isNaN(value)) { sum += value; count += 1; }
    return count ? sum / count : NaN;
  }

  /* The standard error of the mean of `values`, over groups, as decide/operating_points.py has it. */
  function clusteredError(values, groups) {
    const middle = mean(values), sums = new Map();
    let count = 0;
    values.forEach((value, i) => {
      if (Number.isNaN(value)) return;
      sums.set(groups[i], (sums.get(groups[i]) || 0) + value - middle);
      count += 1;
    });
    let squares = 0;
    for (const sum of sums.values()) squares += sum * sum;
    return sums.size > 1 ? Math.sqrt(squares * sums.size / (sums.size - 1)) / count : count ? Infinity : NaN;
  }

  /* What decisions `chosen` are worth, beside always asking the best single model, at `prices` (USD a prompt). */
  function measure(test, chosen, prices) {
    const models = test.models.length, single = test.best_single;
    const label = [], alone = [], paid = [], saved = [], base = [];
    const counts = test.models.map(() => 0);
    let changed = 0, gained = 0, lost = 0;
    for (let i = 0; i < test.rows; i++) {
      const j = chosen[i];
      counts[j] += 1;
      label.push(test.outcomes[i * models + j]);
      alone.push(test.outcomes[i * models + single]);
      paid.push(costOf(test, prices, i, j));
      const usual = costOf(test, prices, i, single);
      if (!Number.isNaN(paid[i]) && !Number.isNaN(usual)) { saved.push(paid[i]); base.push(usual); }
      changed += j !== single;
      gained += label[i] > alone[i];
      lost += label[i] < alone[i];
    }
    const difference = label.map((value, i) => value - alone[i]);
    const usual = mean(base);
    return {
      accuracy: mean(label), minus_best_single: mean(difference), error: clusteredError(difference, test.groups),
      best_single: mean(alone), cost: mean(paid), cost_share: usual > 0 ? mean(saved) / usual : NaN,
      shares: counts.map(count => count / test.rows), changed: changed / test.rows, gained, lost,
    };
  }

  /* Accuracy and mean cost of asking one model always. */
  function alone(test, prices, j) {
    const always = new Int32Array(test.rows).fill(j);
    const found = measure(test, always, prices);
    return {accuracy: found.accuracy, cost: found.cost};
  }

  return {open, serve, choose, measure, alone};
})();
if (typeof module !== "undefined") module.exports = explorer;
