// Wiring: the events in, acts out, one render per frame. What decides lives in state.js.
import { mount } from "/dashboard/view.js";
import { blank, gb, reduce } from "/dashboard/state.js";
import { ask, lines, listen } from "/dashboard/stream.js";

const NOTES_MAX = 4, LOG_MS = 2000, OPERATION_MS = 500;
const root = document.getElementById("app");
let state = blank, heard = 0, due = false, notes = 0;
let ui = { full: document.documentElement.dataset.dashboard === "full", span: 1800, at: null, log: { model: "", lines: [] }, notes: [], talk: null, looked: null, settings: {}, boss: true };

// The daemon's clock: a phone's own is off by minutes.
const now = () => state.status ? Date.parse(state.status.now) + performance.now() - heard : 0;
function paint() {
  if (due || document.hidden) return;
  due = true;
  requestAnimationFrame(() => { due = false; mount(root, state, ui, act, now()); });
}
function take(event) {
  if (event.status?.now || event.state) heard = performance.now();
  state = reduce(state, event);
  paint();
}
const show = more => { ui = { ...ui, ...more }; paint(); };

function start() {
  if (!self.SharedWorker) return listen(take);
  const policy = self.trustedTypes?.createPolicy("own", { createScriptURL: url => url }), at = "/dashboard/stream.js";
  const { port } = new SharedWorker(policy ? policy.createScriptURL(at) : at, { type: "module" });
  port.onmessage = message => take(message.data);
  addEventListener("pagehide", () => port.postMessage("bye"));
  addEventListener("pageshow", event => event.persisted && location.reload());
}

function note(text, more = {}) {
  const id = more.id ?? ++notes, told = { kind: "", text, ...more, id };
  show({ notes: [...ui.notes.filter(n => n.id !== id), told].slice(-NOTES_MAX) });
  return id;
}
// What an act begins with; its refusal stands in the same place.
let begun;
const begin = text => begun = note(text);

// --- acts: each ends in a note, or in what the events show ---
async function load(order) {
  take({ type: "plan", plan: null });
  const id = begin(`${order.model} is asked for.`);
  let told = await ask("POST", "/models/load", { ...order, wait: false });
  while (told.operation_id && ["queued", "loading"].includes(told.status)) {
    await new Promise(done => setTimeout(done, OPERATION_MS));
    told = await ask("GET", `/operations/${told.operation_id}`);
  }
  if (told.status === "failed") return note(`${order.model}: ${told.detail}`, { id, kind: "bad", remedy: state.decisions.find(d => d.model === order.model && d.remedy)?.remedy });
  note(`${order.model} is ready.`, { id });
}
async function unload(order) {
  const id = begin(`${order.model} is asked to leave.`), told = await ask("POST", "/models/unload", order);
  note(told.status === "not_loaded" ? `${order.model} was not here.` : `${order.model} is gone, ${gb(told.freed_mb)} are back.${told.note ? ` ${told.note}` : ""}`, { id });
}
const path = name => `/models/${encodeURIComponent(name)}`;
function called(file) {
  let name = file.replace(/^.*\//, "").replace(/[-_.]?gguf/i, "").replace(/[^\w.:@-]+/g, "-");
  while (state.models?.some(m => m.id === name)) name += "-2";
  return name;
}
// Of a file on a hub the first megabytes tell what it takes.
async function look({ file, service }) {
  show({ looked: null });
  const id = begin(`${file} is looked at…`), order = { file, service }, { vram_mb, doubts, hub } = await ask("POST", "/models/estimate", order);
  show({ looked: { name: called(file), order, vram_mb, doubts, hub }, notes: ui.notes.filter(n => n.id !== id) });
}
async function add({ name, order, hub }) {
  show({ looked: null });
  const id = begin(hub ? `${name} is brought: see Downloads.` : `${name} is added.`);
  await ask("PUT", path(name), order);
  if (hub) await bring(name);
  note(`${name} is ${hub ? "here" : "in the catalogue"}.`, { id });
  await act("plan", { model: name });
}
async function bring(model) {
  try {
    for await (const line of lines(await ask("POST", "/api/pull", { model }, { raw: true }))) {
      const { error } = JSON.parse(line);
      if (error) throw new Error(error);
    }
  } catch (error) { await ask("DELETE", path(model)); throw error; }
}
let reading;
async function log(model) {
  clearTimeout(reading);
  if (model !== ui.log.model) show({ log: { model, lines: [] } });
  if (!model) return;
  if (!document.hidden) {
    const told = await ask("GET", `${path(model)}/logs?lines=60`);
    if (ui.log.model !== model) return;
    if (told.lines.join("\n") !== ui.log.lines.join("\n")) show({ log: { model, lines: told.lines } });
  }
  reading = setTimeout(act, LOG_MS, "log", model);
}
const acts = {
  ui: show,
  dismiss: id => show({ notes: ui.notes.filter(n => n.id !== id) }),
  plan: async order => {
    if (!order) return take({ type: "plan", plan: null });
    const { model: _, ...settings } = order, plan = await ask("POST", "/models/plan", order);
    show({ settings }); take({ type: "plan", plan });
  },
  pin: async ({ model, pinned }) => { await ask(pinned ? "PUT" : "DELETE", `${path(model)}/pin`); note(pinned ? `${model} is pinned: it leaves only by its own unload.` : `${model} is not pinned any more.`); },
  release: async at => { await ask("DELETE", at); note("The lease is ended."); },
  cancel: async id => { const told = await ask("POST", `/requests/${id}/cancel`); note(told.status === "over" ? "It had ended already." : "The request is ended."); },
  load, unload, look, add, log,
  enter: async key => { await ask("POST", "/session", { key }); location.reload(); },
  leave: async () => { await ask("DELETE", "/session"); location.reload(); },
};
const SAID = { load: "Not loaded", unload: "Not unloaded", plan: "No plan", pin: "Not pinned", release: "Not ended", cancel: "Not ended", look: "Not added", add: "Not added", log: "No log", enter: "Not logged in", leave: "Not logged out" };
async function act(what, ...args) {
  let id;
  begun = undefined;
  try { const done = acts[what](...args); id = begun; await done; }
  catch (error) { note(`${SAID[what]}: ${error.message}`, { id, kind: "bad", remedy: error.remedy }); }
}

document.addEventListener("visibilitychange", paint);
// Waits and ages go on between two events.
setInterval(paint, 1000);
// What the tests look at.
self.face = () => ({ state, ui, now: now() });
// What its key may not do is not offered. Without keys there is no id, and all may do all.
ask("GET", "/auth/whoami").then(({ id, name, scopes }) => show({ who: id && name, full: ui.full && scopes.includes("load"), boss: scopes.includes("admin") }), () => {}).then(start);
// What the page says without scripts.
root.textContent = "";
paint();
