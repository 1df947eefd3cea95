// Steps through the run that stands in the page: marks its row, and shows what everything is like there.
//
// `run` is what as_json.py describes. The table is there already (page.py); all else is made here, anew
// for each step, from the state at that step and the one before.

const run = JSON.parse(document.getElementById("run").textContent);
const steps = run.entries.filter((entry) => entry.kind === "step");
const rows = steps.map((step) => document.getElementById(`step-${step.number}`));
const nowhere = { queues: {}, sleepers: {}, locks: {}, flags: {}, tasks: {} };
const QUEUES = ["unused", "background", "pending", "io", "processing", "interrupts", "forgets"];

const panel = document.getElementById("panel");
const slider = document.getElementById("slider");
const stepsButton = document.getElementById("every");
let current = 0; // index of the current step
let everyStep = true; // or only those that the diagram draws

// --- elements

/** Make an element: `make("li", { class: "new" }, "text", child)`. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const MARKS = { new: "+", gone: "−" }; // for those who do not see colours

/** A word in a box; `change` is "new", "gone" or "". */
function chip(text, change = "", kind = "") {
  const marks = change ? [
    make("span", { class: "mark", "aria-hidden": "true" }, MARKS[change]),
    make("span", { class: "heard" }, `${change}: `),
  ] : [];
  return make("li", { class: `chip ${kind} ${change}`.trim() }, ...marks, text);
}

/** The class of the colour in which a task is drawn. */
function lane(task) {
  const column = run.columns.findIndex((each) => each.tasks.includes(task.replace(/, shared$/, "")));
  return column < 0 ? "" : `lane-${column % 6}`;
}

// --- comparing

/** What came and what went between two lists, each word as often as it did. */
function compare(before, after) {
  const gone = [...before];
  const come = after.filter((word) => {
    const at = gone.indexOf(word);
    if (at >= 0) gone.splice(at, 1);
    return at < 0;
  });
  return { come, gone };
}

/** Chips of a list: those that stay, those that are new, and those that have just gone. */
function chips(before, after, kind = () => "") {
  const { come, gone } = compare(before, after);
  return [
    ...after.map((word) => chip(word, come.includes(word) ? "new" : "", kind(word))),
    ...gone.map((word) => chip(word, "gone", kind(word))),
  ];
}

const holders = (locks) => Object.fromEntries(Object.entries(locks).map(([name, lock]) => [name, lock.holders]));
const waiting = (locks) => Object.fromEntries(Object.entries(locks).map(([name, lock]) => [name, lock.waiting]));

/** Say for each word that comes to a table or goes from it what that means. */
function* told(before, after, come, gone) {
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const change = compare(before[name] ?? [], after[name] ?? []);
    for (const word of change.come) if (come) yield come(word, name);
    for (const word of change.gone) if (gone) yield gone(word, name);
  }
}

const isLock = (name) => known.locks.includes(name); // whose sleepers are told of as those who wait for it

const hasEnded = (how) => /^(returned|killed|failed)/.test(how);

/** Whether a run has begun anew between two states: tasks that had ended live, or all are others. */
function isAnew(before, after) {
  const both = Object.keys(before.tasks).filter((task) => task in after.tasks);
  return !both.length || both.some((task) => hasEnded(before.tasks[task]) && !hasEnded(after.tasks[task]));
}

/** How requests went from list to list; those in the pool are all alike, so they are counted. */
function moves({ unused: pool = [], ...before }, { unused = [], ...after }) {
  const from = new Map(told(before, after, null, (word, queue) => [word, queue]));
  const to = new Map(told(before, after, (word, queue) => [word, queue], null));
  return [
    ...(pool.length === unused.length ? [] : [`unused: ${pool.length} → ${unused.length}`]),
    ...[...to].map(([word, queue]) =>
      from.has(word) ? `${word}: ${from.get(word)} → ${queue}` : `${word} joins ${queue}`),
    ...[...from].filter(([word]) => !to.has(word)).map(([word, queue]) => `${word} leaves ${queue}`),
  ];
}

/** The changes of a step in sentences, for those who hear it, and as a summary. */
function sentences(before, after) {
  const asleep = (states) => Object.fromEntries(Object.entries(states.sleepers).filter(([name]) => !isLock(name)));
  const ended = Object.entries(after.tasks).filter(([task, how]) => hasEnded(how) && before.tasks[task] !== how);
  return [
    ...moves(before.queues, after.queues),
    ...told(holders(before.locks), holders(after.locks), (t, l) => `${t} takes ${l}`, (t, l) => `${t} lets go of ${l}`),
    ...told(waiting(before.locks), waiting(after.locks), (t, l) => `${t} waits for ${l}`, null),
    ...told(asleep(before), asleep(after), (t, q) => `${t} sleeps on ${q}`, (t, q) => `${t} wakes from ${q}`),
    ...told(before.flags, after.flags, (w, t) => `${t}: ${w}`, (w, t) => `${t}: no longer ${w}`),
    ...ended.map(([task, how]) => `${task} has ${how}`.replace("has killed", "was killed")),
  ];
}

// --- the panel

const ROOM = 6; // names of a table that always stand there, so that nothing moves about; of more only those in use

/** Every name that a table of the states ever has, in the order in which they come. */
function names(table) {
  return [...new Set(steps.flatMap((step) => Object.keys((step.state ?? nowhere)[table])))];
}

const known = { sleepers: names("sleepers"), locks: names("locks"), flags: names("flags") };

function section(title, lines) {
  const filled = lines.length ? make("dl", {}, ...lines.flat()) : make("p", { class: "none" }, "none");
  return make("section", {}, make("h2", {}, title), filled);
}

/** A name, and what there is to say of it; dim while that is nothing. */
function line(name, said, extra = []) {
  const empty = said.length + extra.length === 0 ? { class: "empty" } : {};
  return [make("dt", empty, name), make("dd", empty, make("ul", {}, ...said), ...extra)];
}

function queue(name, before, after) {
  if (name !== "unused") return line(name, chips(before, after));
  const change = after.length > before.length ? "new" : ""; // they are all alike, so they are counted
  return line(name, after.length || before.length ? [chip(`${after.length} requests`, change)] : []);
}

function lock(name, before = { holders: [], waiting: [] }, after = { holders: [], waiting: [] }) {
  const waits = chips(before.waiting, after.waiting, lane);
  return line(name, chips(before.holders, after.holders, lane),
    waits.length ? [make("ul", { class: "waiting", "aria-label": "waiting" }, ...waits)] : []);
}

const GLYPHS = [
  ["running", "▶"], ["can go on", "○"], ["asleep", "☾"], ["returned", "✓"], ["killed", "✕"], ["failed", "✕"],
];

/** A text whose arrows, as in `req->waitq`, no end of a line breaks. */
function unbroken(text) {
  return text.split(/(->)/).map((part) => (part === "->" ? make("u", {}, part) : part));
}

function task(name, before, after) {
  const glyph = GLYPHS.find(([words]) => after.startsWith(words))?.[1] ?? "·";
  const changed = before !== undefined && before !== after ? "changed" : "";
  const condition = make("span", { class: `condition ${changed}`.trim() },
    make("span", { class: "glyph", "aria-hidden": "true" }, glyph), make("span", {}, ...unbroken(after)));
  return [make("dt", { class: lane(name) }, name), make("dd", {}, condition)];
}

function stateSections(before, after) {
  const shown = (table) => known[table].length <= ROOM
    ? known[table] : known[table].filter((name) => name in before[table] || name in after[table]);
  const list = (table, kind) => shown(table).map((name) =>
    line(name, chips(before[table][name] ?? [], after[table][name] ?? [], kind)));
  return [
    section("Tasks", Object.entries(after.tasks).map(([name, condition]) => task(name, before.tasks[name], condition))),
    section("Queues", QUEUES.map((name) => queue(name, before.queues[name] ?? [], after.queues[name] ?? []))),
    section("Asleep", list("sleepers", lane)),
    section("Locks", shown("locks").map((name) => lock(name, before.locks[name], after.locks[name]))),
    section("Flags", list("flags")),
  ];
}

/** What is known of the tasks of a real kernel: what each of them did last, up to a step. */
function lastSteps(index) {
  const past = steps.slice(0, index + 1).reverse();
  const did = (name) => past.find((step) => step.task === name || step.woken.includes(name));
  const how = (name, step) => (step.task !== name ? step.echo : step.words).replace(/^\[(.*)\]$/, "$1");
  const names = run.columns.flatMap((column) => column.tasks).filter(did);
  return names.map((name) => task(name, undefined, how(name, did(name)).replace(/^sleep on/, "asleep on")));
}

function withoutState(index) {
  if (!run.observed) return [make("p", { class: "none" }, "Nobody looked here.")];
  return [
    section("Seen last", lastSteps(index)),
    make("p", { class: "none" }, "A real kernel does not show its lists."),
  ];
}

const unit = steps.length && steps.at(-1).time >= 10 ? ["s", 1] : ["ms", 1000];
const shownTime = (seconds) => `${(seconds * unit[1]).toFixed(3)} ${unit[0]}`;

/** The remarks that stand between this step and the next that is shown. */
function remarksAfter(step) {
  const later = run.entries.slice(run.entries.indexOf(step) + 1);
  const next = later.findIndex((entry) => entry.kind === "step" && (everyStep || entry.drawn));
  const until = later.slice(0, next < 0 ? undefined : next);
  return until.filter((entry) => entry.kind !== "step" && entry.kind !== "heading");
}

const DEADLOCK = document.querySelector(".deadlock strong")?.textContent; // the diagram's word for it

/** What a step says, and about what; a call's arguments stand in its parentheses. */
function said(step) {
  const isCall = step.words.startsWith(">") && step.words.endsWith("()");
  if (isCall) return [make("code", {}, `${step.words.slice(0, -1)}${step.detail})`)];
  const isSaid = step.words.includes(step.detail); // or there is none
  return [make("code", {}, step.words), ...(isSaid ? [] : [" ", make("i", {}, step.detail)])];
}

function now(step, previous, changes) {
  const since = previous ? ` (+${shownTime(step.time - previous.time)})` : "";
  return [
    make("p", { class: "count" }, `Step ${step.number} of ${steps.length}`,
      make("span", {}, `${shownTime(step.time)}${since}`)),
    make("p", { class: "what" }, make("b", { class: lane(step.task) }, step.task), " ", ...said(step),
      ...(step.certain ? [] : [" (inferred)"])),
    make("ul", { class: "changes" }, ...changes.map((text) => make("li", {}, text))),
    ...remarksAfter(step).map((remark) => make("p", { class: `said ${remark.kind}` },
      ...(remark.kind === "deadlock" ? [make("strong", {}, DEADLOCK), " "] : []), remark.text)),
  ];
}

// --- going

/** Have a column's title said where another column stood above; seen on narrow screens. */
function nameColumns() {
  let above = -1;
  for (const index of path()) {
    for (const cell of rows[index].querySelectorAll("td[data-title]")) {
      cell.classList.toggle("same", cell.cellIndex === above);
      above = cell.cellIndex;
    }
  }
}

/** The indices of the steps that one goes through. */
const path = () => [...steps.keys()].filter((index) => everyStep || steps[index].drawn);

/** The index of the step that is so many steps on, or back, or else at the end. */
function by(count) {
  const ahead = path().filter((index) => index > current);
  const behind = path().filter((index) => index < current).reverse();
  const way = count > 0 ? ahead : behind;
  return way[Math.min(Math.abs(count), way.length) - 1] ?? current;
}

/** What everything is like at a step, and after those that follow it unseen, up to what is said next. */
function stateAt(index) {
  const later = run.entries.slice(run.entries.indexOf(steps[index]) + 1);
  const end = later.findIndex((entry) => entry.kind !== "step" || everyStep || entry.drawn);
  return [steps[index], ...later.slice(0, end < 0 ? undefined : end)].at(-1).state;
}

/** Make the step with this index the current one, or the next to it if that is not shown. */
function show(index) {
  current = path().find((each) => each >= index) ?? path().at(-1);
  const last = path().findLast((each) => each < current);
  const [step, previous] = [steps[current], steps[last]];
  const after = stateAt(current) ?? nowhere;
  const earlier = previous ? stateAt(last) ?? nowhere : after;
  const before = isAnew(earlier, after) ? after : earlier; // nothing has changed then: it is another world
  document.getElementById("now").replaceChildren(...now(step, previous, sentences(before, after)));
  document.getElementById("state").replaceChildren(...(after !== nowhere
    ? stateSections(before, after) : withoutState(current)));
  mark(step);
}

function mark(step) {
  document.querySelector("tr[aria-current]")?.removeAttribute("aria-current");
  rows[current].setAttribute("aria-current", "step");
  if (!current) scrollTo(0, 0); // where the title stands
  rows[current].scrollIntoView({ block: "nearest" });
  slider.value = step.number;
  slider.setAttribute("aria-valuetext", `${step.number} of ${steps.length}: ${step.task} ${step.text}`);
  for (const button of panel.querySelectorAll("[data-go]")) {
    const end = ["first", "back"].includes(button.dataset.go) ? path()[0] : path().at(-1);
    button.setAttribute("aria-disabled", String(current === end));
  }
}

/** Go to the step with this index, and have the address say so. */
function go(index) {
  show(index);
  history.replaceState(null, "", `#step-${steps[current].number}`);
}

/** The index of the step before the next remark, or of the one before the last that was passed. */
function remark(direction) {
  const stops = path().filter((index) => remarksAfter(steps[index]).length);
  const found = direction > 0 ? stops.find((index) => index > current) : stops.findLast((index) => index < current);
  return found ?? (direction > 0 ? steps.length - 1 : 0); // an end, where there is none
}

const GO = { first: () => 0, back: () => by(-1), on: () => by(1), last: () => steps.length - 1 };

const KEYS = {
  ArrowLeft: GO.back, ArrowUp: GO.back, ArrowRight: GO.on, ArrowDown: GO.on,
  Home: GO.first, End: GO.last,
  PageUp: () => by(-10), PageDown: () => by(10),
  n: () => remark(1), p: () => remark(-1),
};

const SCROLLS = new Set(["ArrowUp", "ArrowDown", "PageUp", "PageDown"]); // in what has the focus, if that is longer

function pressed(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "t") toggleTheme();
  if (key === "e") toggleSteps();
  if (!(key in KEYS) || (SCROLLS.has(key) && event.target.closest("#state"))) return;
  event.preventDefault(); // also of the slider, whose own keys are these
  go(KEYS[key]());
}

/** Show every step, or only those that the diagram draws. */
function toggleSteps() {
  if (stepsButton.hidden) return;
  everyStep = !everyStep;
  stepsButton.setAttribute("aria-pressed", String(everyStep));
  document.querySelector("table").classList.toggle("drawn", !everyStep);
  nameColumns();
  go(current);
}

/** Go where the address says, such as #step-12. */
function follow() {
  const number = Number(/^#step-(\d+)$/.exec(location.hash)?.[1] ?? 1);
  show(number - 1);
}

// --- light and dark

const themeButton = document.getElementById("theme");
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

const isDark = () => (document.documentElement.dataset.theme ?? (systemIsDark.matches ? "dark" : "light")) === "dark";

function nameTheme() {
  themeButton.textContent = isDark() ? "Light" : "Dark";
}

function toggleTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
}

// --- from here on it runs

if (steps.length) {
  panel.hidden = themeButton.hidden = false;
  stepsButton.hidden = !steps.some((step) => step.drawn) || steps.every((step) => step.drawn);
  stepsButton.addEventListener("click", toggleSteps);
  slider.max = steps.length;
  slider.addEventListener("input", () => go(Number(slider.value) - 1));
  for (const button of panel.querySelectorAll("[data-go]")) {
    button.addEventListener("click", () => go(GO[button.dataset.go]()));
  }
  rows.forEach((row, index) => row.addEventListener("click", () => {
    if (getSelection().isCollapsed) go(index); // else somebody marks text in order to copy it
  }));
  themeButton.addEventListener("click", toggleTheme);
  systemIsDark.addEventListener("change", nameTheme);
  addEventListener("keydown", pressed);
  addEventListener("hashchange", follow);
  nameTheme();
  nameColumns();
  follow();
}
