// Wiring: the events in, acts out, one render per frame. What decides lives in state.js.
import { mount } from "/dashboard/view.js";
import { blank, gb, reduce } from "/dashboard/state.js";
import { ask, lines, listen } from "/dashboard/stream.js";

const NOTES_MAX = 4, LOG_MS = 2000, OPERATION_MS = 500;
const root = document.getElementById("app"), html = document.documentElement;
const kept = { get: () => { try { return localStorage.theme ?? ""; } catch { return ""; } }, set: theme => { try { localStorage.theme = theme; } catch { /* then it is forgotten */ } } };
let state = blank, heard = 0, due = false, notes = 0;
let ui = { full: html.dataset.dashboard === "full", span: 1800, at: null, log: { model: "", lines: [] }, theme: kept.get(), notes: [], talk: null, looked: null, settings: {}, all: false, more: false };

// The daemon's clock: a phone's own is off by minutes.
const now = () => state.status ? Date.parse(state.status.now) + performance.now() - heard : 0;
function paint() {
  if (due || document.hidden) return;
  due = true;
  requestAnimationFrame(() => { due = false; mount(root, state, ui, act, now()); });
}
function take(event) {
  if (event.type === "snapshot" || event.type === "status") heard = performance.now();
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
  const id = more.id ?? ++notes, told = { id, kind: "", text, ...more };
  show({ notes: [...ui.notes.filter(n => n.id !== id), told].slice(-NOTES_MAX) });
  return id;
}
// What an act begins with; its refusal stands in the same place.
let begun;
const begin = text => begun = note(text);
const refused = (text, error, more) => note(`${text}: ${error.message}`, { kind: "bad", remedy: error.remedy, ...more });

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
const on_hub = file => /^[\w.-]+\/[\w.-]+(:.+)?$/.test(file) && !/\.gguf$/i.test(file.split(":")[0]);
function called(file) {
  const name = file.replace(/^.*\//, "").replace(/[-_.]?gguf/i, "").replace(/[^\w.:@-]+/g, "-"), taken = new Set((state.models ?? []).map(m => m.id));
  for (let i = 1; ; i++) { const free = i > 1 ? `${name}-${i}` : name; if (!taken.has(free)) return free; }
}
// Of a file on a hub the first megabytes tell what it takes.
async function look({ file, service }) {
  show({ looked: null });
  const id = begin(`${file} is looked at…`), body = service ? { file, service } : { file }, { vram_mb, doubts } = await ask("POST", "/models/estimate", body);
  show({ looked: { name: called(file), body, vram_mb, doubts, far: on_hub(file) }, notes: ui.notes.filter(n => n.id !== id) });
}
async function add({ name, body, far }) {
  show({ looked: null });
  const id = begin(`${name} is added.`);
  await ask("PUT", path(name), body);
  if (far) await bring(id, name, body);
  note(`${name} is ${far ? "here" : "in the catalogue"}.`, { id });
  await act("plan", { model: name });
}
// What does not fit is not brought.
async function bring(id, name, body) {
  let stays = false;
  try {
    const { refusal } = await ask("POST", "/models/plan", { model: name });
    if (refusal?.code === "does_not_fit") throw Object.assign(new Error(refusal.detail), refusal);
    note(`${name} is brought: see Downloads.`, { id });
    for await (const line of lines(await ask("POST", "/api/pull", { model: name }, { raw: true }))) {
      const { error } = JSON.parse(line);
      if (error) throw new Error(error);
    }
    await ask("PUT", path(name), body);
    stays = true;
  } finally { if (!stays) await ask("DELETE", path(name)).catch(() => {}); }
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
  ui: more => { if ("theme" in more) { kept.set(more.theme); html.dataset.theme = more.theme; } show(more); },
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
};
const SAID = { load: "Not loaded", unload: "Not unloaded", plan: "No plan", pin: "Not pinned", release: "Not ended", cancel: "Not ended", look: "Not added", add: "Not added", log: "No log" };
async function act(what, ...args) {
  let id;
  begun = undefined;
  try { const done = acts[what](...args); id = begun; await done; }
  catch (error) { refused(SAID[what] ?? what, error, { id }); }
}

html.dataset.theme = ui.theme;
document.addEventListener("visibilitychange", paint);
setInterval(paint, 1000); // waits and ages go on between two events
self.face = () => ({ state, ui, painted: mount.count ?? 0, now: now() }); // what the tests look at
start();
paint();
