"use strict";
// Names, commands and reasons reach the page through textContent, never as markup.
const DATA = JSON.parse(document.getElementById("leaderboard-data").textContent);
const CELLS = new Map(DATA.cells.map((cell) => [`${cell.r}|${cell.t}|${cell.s}`, cell]));
const COSTS = ["rollouts", "tokens", "device_hours"];
const COLUMNS = [
  { key: "rank", label: "rank", up: true },
  { key: "model", label: "model", words: true, up: true },
  { key: "method", label: "method", words: true, up: true },
  { key: "seeds", label: "seeds" },
  ...DATA.metrics,
  ...COSTS.map((key) => ({ key, label: DATA.costs[key], cost: true, up: true })),
];
const DEFAULTS = { task: DATA.tasks[0].name, lang: DATA.sets[0].key, model: "", method: "", text: "", sort: "main", dir: "", row: "", heat: "main" };
let state = { ...DEFAULTS };

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

const cellOf = (row, lang = state.lang) => CELLS.get(`${row.id}|${state.task}|${lang}`);
const numberOf = (row, key, lang) => (cellOf(row, lang) || { n: {} }).n[key];
const minus = (text) => text.replace("-", "−");
const signed = (text) => (text.startsWith("-") || Number(text) === 0 ? minus(text) : `+${text}`);
const percent = (value) => (100 * value).toFixed(1);

function shown(metric, value) {
  if (metric.signed) return signed(percent(value));
  return metric.share ? percent(value) : value.toFixed(2);
}

function amount(value) {
  if (value === 0) return "0";
  if (value >= 1e9) return `${(value / 1e9).toPrecision(3)}G`;
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)}M`;
  if (value >= 1e4) return `${(value / 1e3).toPrecision(3)}k`;
  return value >= 100 ? String(Math.round(value)) : value.toPrecision(2);
}

function interval(metric, number) {
  return number.lo === null ? "no interval" : `${shown(metric, number.lo)} to ${shown(metric, number.hi)}`;
}

function nameOf(row) {
  return row.variant ? `${row.method} (${row.variant})` : row.method;
}

// What is shown is in the address, so that a view can be linked to.
function readAddress() {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  state = { ...DEFAULTS };
  for (const key of Object.keys(DEFAULTS)) if (key in given) state[key] = given[key];
  if (!DATA.tasks.some((task) => task.name === state.task)) state.task = DEFAULTS.task;
  if (!DATA.sets.some((set) => set.key === state.lang)) state.lang = DEFAULTS.lang;
  if (!COLUMNS.some((column) => column.key === state.sort)) state.sort = DEFAULTS.sort;
}

function writeAddress() {
  const given = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  const hash = new URLSearchParams(given).toString();
  history.replaceState(null, "", `#${hash}`);
}

function change(values) {
  Object.assign(state, values);
  writeAddress();
  render();
}

function visibleRows() {
  const words = state.text.toLocaleLowerCase();
  return DATA.rows.filter(
    (row) =>
      (!state.model || row.model === state.model) &&
      (!state.method || row.method === state.method) &&
      (!words || `${row.model} ${nameOf(row)}`.toLocaleLowerCase().includes(words)),
  );
}

function sortValue(row, key) {
  if (key === "model") return row.model;
  if (key === "method") return nameOf(row);
  if (key === "seeds") return row.seeds.length || null;
  if (COSTS.includes(key)) return row.costs[key] ? row.costs[key].mean : null;
  if (key === "rank") return (cellOf(row) || {}).k ? cellOf(row).k.best : null;
  const number = numberOf(row, key);
  return number ? number.v : null;
}

function direction() {
  const column = COLUMNS.find((each) => each.key === state.sort);
  return state.dir || (column.up ? "ascending" : "descending");
}

function sortedRows() {
  const sign = direction() === "ascending" ? 1 : -1;
  const value = (row) => sortValue(row, state.sort);
  return visibleRows().sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null); // missing stays last either way
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return order ? sign * order : (numberOf(b, "main") || { v: -1 }).v - (numberOf(a, "main") || { v: -1 }).v;
  });
}

function sortBy(key) {
  const opposite = direction() === "ascending" ? "descending" : "ascending";
  change(state.sort === key ? { dir: opposite } : { sort: key, dir: "" });
  // Drawing anew takes the focus; who sorts by keyboard needs it back.
  const button = document.querySelector(`button.sort[data-key="${key}"]`);
  if (button) button.focus();
}

function labelOf(column) {
  if (column.key === "main") return DATA.tasks.find((task) => task.name === state.task).metric;
  if (column.key === "pass@k") return DATA.tasks.find((task) => task.name === state.task).pass;
  return column.label;
}

function cells(row) {
  return COLUMNS.map((column) => {
    const node = element("td", column.words || column.key === "seeds" ? "left" : "");
    node.dataset.label = labelOf(column);
    node.dataset.key = column.key;
    const box = element("div", "box"); // one child, so that a narrow screen can lay it out beside its label
    node.append(box);
    if (column.words) wordsCell(node, box, column.key === "model" ? row.model : nameOf(row));
    else if (column.key === "rank") rankCell(box, row);
    else if (column.key === "seeds") runsCell(box, row);
    else if (column.cost) costCell(node, box, row.costs[column.key]);
    else numberCell(node, box, row, column);
    return node;
  });
}

function wordsCell(node, box, text) {
  node.classList.add("words");
  for (const part of text.split(/(?<=[/:_-])/)) box.append(part, element("wbr"));
}

function rankCell(box, row) {
  const rank = (cellOf(row) || {}).k;
  if (!rank) return box.append(element("span", "missing", "—"));
  box.append(element("span", "strong", `${rank.tied ? "=" : ""}${rank.best}`));
  box.append(element("span", "span", `${rank.best} to ${rank.worst}`));
}

function numberCell(node, box, row, column) {
  const cell = cellOf(row);
  const number = cell && cell.n[column.key];
  if (!number) {
    node.classList.add("missing");
    box.append(element("span", "", column.key === "main" ? "missing" : "—"));
    if (column.key === "main") box.append(element("span", "span", cell ? cell.m : "not in this task"));
    else node.classList.add("empty");
    return;
  }
  const tone = column.signed && number.lo !== null ? (number.lo > 0 ? "gain" : number.hi < 0 ? "loss" : "") : "";
  box.append(element("span", column.key === "main" ? "strong" : tone, shown(column, number.v)));
  box.append(element("span", "span", interval(column, number)));
  if (number.u) box.append(element("span", "span unscored", `${number.u} unknown`));
  node.title = `${number.q} questions, ${number.s} seed${number.s === 1 ? "" : "s"}`;
  if (column.key === "main") box.append(track(number));
}

function track(number) {
  const node = element("span", "track");
  node.setAttribute("aria-hidden", "true");
  if (number.lo !== null) {
    const band = element("i", "ci");
    band.style.left = `${100 * number.lo}%`;
    band.style.width = `${100 * (number.hi - number.lo)}%`;
    node.append(band);
  }
  const dot = element("i", "dot");
  dot.style.left = `${100 * number.v}%`;
  node.append(dot);
  return node;
}

function costCell(node, box, cost) {
  if (!cost) {
    node.classList.add("empty");
    return box.append(element("span", "missing", "unknown"));
  }
  box.append(element("span", "", amount(cost.mean)));
  if (cost.high > cost.low) box.append(element("span", "span", `${amount(cost.low)} to ${amount(cost.high)}`));
}

function runsCell(box, row) {
  const details = element("details");
  details.append(element("summary", "", row.runs.length ? `${row.runs.length} seed${row.runs.length === 1 ? "" : "s"}` : "none"));
  const list = element("ul");
  for (const run of row.runs) {
    const item = element("li", "", `seed ${run.seed}: `);
    if (run.report) {
      const link = element("a", "", "report");
      link.href = run.report;
      item.append(link);
    } else item.append("no report");
    item.append(element("pre", "", run.command));
    list.append(item);
  }
  if (row.device) list.append(element("li", "", `on ${row.device}`));
  for (const text of row.missing) list.append(element("li", "unscored", text));
  details.append(list);
  box.append(details);
  if (row.missing.length) box.append(element("span", "span unscored", `${row.missing.length} missing`));
}

function renderTable() {
  const rows = sortedRows();
  const table = element("table", "rows");
  const head = element("tr");
  for (const column of COLUMNS) {
    const cell = element("th", column.words || column.key === "seeds" ? "left" : "");
    cell.scope = "col";
    const button = element("button", "sort", labelOf(column));
    button.type = "button";
    button.dataset.key = column.key;
    button.onclick = () => sortBy(column.key);
    cell.append(button);
    if (column.key === state.sort) cell.setAttribute("aria-sort", direction());
    head.append(cell);
  }
  const body = element("tbody");
  for (const row of rows) {
    const line = element("tr");
    line.dataset.row = row.id;
    line.append(...cells(row));
    body.append(line);
  }
  table.append(element("thead"), body);
  table.tHead.append(head);
  table.setAttribute("aria-label", "Leaderboard");
  const scroll = element("div", "scroll");
  scroll.tabIndex = 0;
  scroll.append(table);
  document.getElementById("table").replaceChildren(scroll);
  const set = DATA.sets.find((each) => each.key === state.lang);
  document.getElementById("status").textContent =
    `${rows.length} of ${DATA.rows.length} rows: ${state.task}; ${set.label}; by ${labelOf(COLUMNS.find((c) => c.key === state.sort))}`;
  return rows;
}

function dumbbell(label, before, after, difference, scale) {
  const line = element("div", "line");
  const clear = difference.lo !== null && (difference.lo > 0 || difference.hi < 0);
  line.classList.add(!clear ? "even" : difference.v > 0 ? "up" : "down");
  const place = (node, from, to) => {
    node.style.left = `${scale(from)}%`;
    if (to !== undefined) node.style.width = `${scale(to) - scale(from)}%`;
    line.append(node);
  };
  if (after.lo !== null) place(element("i", "ci"), after.lo, after.hi);
  place(element("i", "bar"), Math.min(before.v, after.v), Math.max(before.v, after.v));
  place(element("i", "dot"), before.v);
  place(element("i", `dot after${clear ? " clear" : ""}`), after.v);
  line.setAttribute("aria-hidden", "true");
  const numbers = element("div", "numbers");
  numbers.append(element("span", "", `${percent(before.v)} → ${percent(after.v)}`));
  const span = difference.lo === null ? "no interval" : `${signed(percent(difference.lo))} to ${signed(percent(difference.hi))}`;
  numbers.append(element("span", "span", `${signed(percent(difference.v))} points (${span})`));
  return [element("div", "name", label), line, numbers];
}

function renderDumbbells(rows) {
  const chosen = DATA.rows.find((row) => String(row.id) === state.row);
  const entries = [];
  if (chosen)
    for (const set of DATA.sets.filter((each) => each.kind !== "script"))
      entries.push([set.label, ...["before", "main", "change"].map((key) => numberOf(chosen, key, set.key))]);
  else
    for (const row of rows)
      entries.push([`${row.model} · ${nameOf(row)}`, ...["before", "main", "change"].map((key) => numberOf(row, key))]);
  const known = entries.filter((entry) => entry.slice(1).every(Boolean));
  const box = element("div", "dumb");
  const ends = known.flatMap(([, before, after]) => [before.v, after.v, after.lo ?? after.v, after.hi ?? after.v]);
  const low = Math.max(0, Math.floor(Math.min(...ends) * 10) / 10);
  const high = Math.min(1, Math.ceil(Math.max(...ends) * 10) / 10);
  const scale = (value) => (100 * (value - low)) / (high - low || 1);
  for (const [label, before, after, difference] of known) box.append(...dumbbell(label, before, after, difference, scale));
  if (known.length) {
    const axis = element("div", "axis");
    const step = high - low > 0.5 ? 0.2 : 0.1;
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9; i++) {
      const value = i * step;
      const tick = element("span", "", String(Math.round(100 * value)));
      tick.style.left = `${scale(value)}%`;
      axis.append(tick);
    }
    box.append(element("div", "axis-pad"), axis);
  }
  const note = known.length
    ? "A ring is the model before training, a dot after it, filled where the 95% interval of the change excludes zero; the band is the interval after."
    : "No row shown here was evaluated before and after training.";
  document.getElementById("dumbbell-note").textContent = note;
  const select = choice("dumbbell rows", "row", [["", "each row, in the chosen languages"], ...DATA.rows.filter((row) => row.runs.length).map((row) => [String(row.id), `every language of ${row.model} · ${nameOf(row)}`])]);
  const controls = element("div", "controls wide");
  controls.append(select);
  document.getElementById("dumbbells").replaceChildren(controls, box);
}

function heatLanguages() {
  const set = DATA.sets.find((each) => each.key === state.lang);
  const task = DATA.tasks.find((each) => each.name === state.task);
  return DATA.sets.filter(
    (each) => each.kind === "language" && task.languages.includes(each.key) && (set.kind !== "script" || set.languages.includes(each.key)),
  );
}

function renderHeat(rows) {
  const metric = DATA.metrics.find((each) => each.key === state.heat) || DATA.metrics[0];
  const trained = DATA.trained || [];
  const sets = heatLanguages().sort((a, b) => trained.includes(b.key) - trained.includes(a.key));
  const first = sets.find((set) => !trained.includes(set.key));
  const table = element("table", "heat");
  const head = element("tr");
  head.append(element("th", "", "row"));
  for (const set of sets) {
    const cell = element("th", set === first && trained.length ? "heldout" : "", set.key);
    cell.title = set.label;
    if (trained.length) cell.append(element("span", "span", trained.includes(set.key) ? "trained" : "held out"));
    head.append(cell);
  }
  const body = element("tbody");
  const values = rows.flatMap((row) => sets.map((set) => numberOf(row, metric.key, set.key))).filter(Boolean);
  const far = Math.max(0.01, ...values.map((number) => Math.abs(number.v)));
  for (const row of rows) {
    const line = element("tr");
    line.append(element("td", "", `${row.model} · ${nameOf(row)}`));
    for (const set of sets) {
      const number = numberOf(row, metric.key, set.key);
      const cell = element("td", set === first && trained.length ? "heldout" : "");
      if (!number) cell.append(element("span", "missing", "missing"));
      else {
        const strength = metric.signed ? Math.abs(number.v) / far : metric.share ? number.v : number.v / far;
        const colour = metric.signed && number.v < 0 ? "var(--wrong-in)" : "var(--right-in)";
        cell.style.background = `color-mix(in srgb, ${colour} ${Math.round(65 * strength)}%, transparent)`;
        cell.append(element("span", "", shown(metric, number.v)), element("span", "span", interval(metric, number)));
      }
      line.append(cell);
    }
    body.append(line);
  }
  table.append(element("thead"), body);
  table.tHead.append(head);
  const box = document.getElementById("heat");
  box.tabIndex = 0;
  box.replaceChildren(table);
  document.getElementById("heat-controls").replaceChildren(choice("numbers", "heat", DATA.metrics.map((each) => [each.key, labelOf(each)])));
  document.getElementById("heat-note").textContent =
    `${state.task}: ${labelOf(metric)} with its 95% interval; the darker, the ${metric.signed ? "larger the change (blue up, orange down)" : "higher"}.`;
}

function choice(title, key, options, groups) {
  const label = element("label", "", title);
  const select = element("select");
  select.dataset.key = key;
  for (const [value, text, group] of options) {
    const option = new Option(text, value);
    if (!group) select.append(option);
    else {
      let box = [...select.querySelectorAll("optgroup")].find((each) => each.label === group);
      if (!box) {
        box = element("optgroup");
        box.label = group;
        select.append(box);
      }
      box.append(option);
    }
  }
  select.value = state[key];
  select.onchange = () => {
    change({ [key]: select.value });
    const again = document.querySelector(`select[data-key="${key}"]`);
    if (again) again.focus();
  };
  label.append(select);
  return label;
}

function unique(values) {
  return [...new Set(values)].sort();
}

function renderControls() {
  const kinds = { average: "averages", script: "scripts", language: "languages" };
  const form = document.getElementById("controls");
  form.onsubmit = (event) => event.preventDefault();
  const sorting = choice("sort by", "sort", COLUMNS.map((c) => [c.key, labelOf(c)]));
  sorting.className = "only-narrow";
  const search = element("label", "search", "text");
  const input = element("input");
  input.type = "search";
  input.placeholder = "in model or method";
  input.value = state.text;
  input.oninput = () => {
    state.text = input.value;
    writeAddress();
    renderRows();
  };
  search.append(input);
  form.replaceChildren(
    choice("task", "task", DATA.tasks.map((task) => [task.name, task.name])),
    choice("languages", "lang", DATA.sets.map((set) => [set.key, set.label, kinds[set.kind]])),
    choice("model", "model", [["", "all"], ...unique(DATA.rows.map((row) => row.model)).map((name) => [name, name])]),
    choice("method", "method", [["", "all"], ...unique(DATA.rows.map((row) => row.method)).map((name) => [name, name])]),
    sorting,
    search,
  );
}

function renderRows() {
  const rows = renderTable();
  renderDumbbells(rows);
  renderHeat(rows);
}

function render() {
  renderControls();
  renderRows();
}

window.addEventListener("hashchange", () => {
  readAddress();
  render();
});
readAddress();
document.getElementById("app").hidden = false;
render();
