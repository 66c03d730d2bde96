// What the page knows, and how one event changes it. Pure: no DOM, no clock, no network.
export const blank = {
  link: "connecting", status: null, reasons: [], decisions: [], spans: [], models: null, hues: {},
  requests: { running: [], running_total: 0, ended: [] }, plan: null,
};
const CAP = { decisions: 12, spans: 600 };
const HUES = 10;
// A reading that is older looks old; devices are read far more often.
export const STALE_S = 15;

export function reduce(state, event) {
  switch (event.type) {
    case "snapshot": return told({ ...state, hues: event.hues ?? state.hues, decisions: [...event.decisions].reverse(), spans: event.spans }, event);
    case "status": return told(state, event);
    case "decision": return { ...state, decisions: [event, ...state.decisions.filter(d => d.id !== event.id)].slice(0, CAP.decisions) };
    case "span": return tinted({ ...state, spans: [...state.spans.filter(s => s.span_id !== event.span_id), event].slice(-CAP.spans) });
    case "requests": return { ...state, requests: share(state.requests, event) };
    case "models": return { ...state, models: share(state.models, event.models) };
    case "plan": return tinted({ ...state, plan: event.plan });
    // What was seen with a key is not shown without one; a form that is typed into stays.
    case "link": return { ...(event.link === "locked" ? blank : state), link: state.link === "locked" ? "locked" : event.link };
    case "whole": return event.state;
    case "end": return { ...state, link: "lost" };
    // Events may be added; an old page must not break.
    default: return state;
  }
}
const told = (state, event) => tinted({ ...state, link: "live", status: share(state.status, event.status), reasons: share(state.reasons, event.reasons ?? []) });

// A model keeps the colour it came with; a new one takes the colour that the fewest have.
function tinted(state) {
  const names = [...state.spans.filter(s => s.holder === "resident").map(s => s.name), ...(state.status ? [...Object.keys(state.status.loaded_models), ...state.status.queue.map(q => q.model)] : []), ...(state.plan ? [state.plan.model] : [])];
  let hues = state.hues;
  for (const name of names) if (!Object.hasOwn(hues, name)) {
    const used = Array(HUES).fill(0); for (const n in hues) used[hues[n]]++;
    hues = { ...hues, [name]: used.indexOf(Math.min(...used)) };
  }
  return hues === state.hues ? state : { ...state, hues };
}

// Keep the old object wherever nothing changed, so that unchanged rows are not rendered again.
export function share(old, next) {
  if (Object.is(old, next) || typeof next !== "object" || !next || !old) return next;
  const keys = Object.keys(next), kept = Array.isArray(next) ? [] : {};
  let same = Array.isArray(old) === Array.isArray(next) && keys.length === Object.keys(old).length;
  for (const k of keys) { kept[k] = share(old[k], next[k]); same &&= Object.is(kept[k], old[k]); }
  return same ? old : kept;
}

export const gb = mb => mb == null ? "unknown" : `${(mb / 1024).toFixed(mb && mb < 10240 ? 1 : 0)} GB`;
export const dur = s => s == null ? "unknown" : s < 1 ? "a moment" : s < 60 ? `${Math.round(s)} s`
  : s < 3600 ? `${Math.floor(s / 60)} min${s < 600 && Math.floor(s % 60) ? ` ${Math.floor(s % 60)} s` : ""}` : `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
export const since = (iso, now) => iso == null ? null : Math.max(0, (now - Date.parse(iso)) / 1000);
export const until = (iso, now) => iso == null ? null : Math.max(0, (Date.parse(iso) - now) / 1000);
// A load beside what it took before; without a past, how long it has been.
export const loading = (m, now) => {
  const spent = since(m.loading_since, now), usual = m.usual_seconds;
  return `loading, ${dur(spent)}${usual == null ? " so far" : `${spent < usual ? " of" : ","} usually ${dur(usual)}`}`;
};
export const count = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
export const list = words => words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
export function label(devices, id) {
  const device = devices.find(d => d.id === id), of = devices.filter(d => d.kind === device?.kind);
  const word = { host: "Host RAM", unified: "Shared RAM" }[device?.kind] ?? "GPU";
  return !device ? id : word !== "GPU" && of.length === 1 ? word : `${word} ${of.indexOf(device)}`;
}
export const stale = (device, now) => since(device.read_at, now) > STALE_S;
// A queue's wait goes on between two statuses.
export const waited = (q, status, now) => q.waited_seconds + Math.max(0, (now - Date.parse(status.now)) / 1000);

// The page's first sentence: what a person would say who looked at the machine right now.
export function headline(state, now) {
  const s = state.status;
  if (!s) return state.link === "lost" ? "The daemon does not answer." : "Asking the daemon what runs…";
  if (state.link !== "live") return `Not connected. What you see is ${dur(since(s.now, now))} old.`;
  const all = Object.values(s.loaded_models), by = status => all.filter(m => m.status === status);
  const [grave] = graves(s, now), [doubt] = doubts(s);
  if (!s.devices.length) return "No device has been read yet.";
  if (grave) return `${grave.what}. ${grave.then}`.trim();
  if (s.queue.length) {
    const q = s.queue.reduce((a, b) => a.waited_seconds > b.waited_seconds ? a : b), left = q.bound_seconds - waited(q, s, now);
    const most = left > 0 ? `at most ${dur(left)} more` : "longer than promised";
    return s.queue.length === 1 ? `${q.model} waits, ${most}.` : `${s.queue.length} models wait; ${q.model} longest, ${most}.`;
  }
  const coming = by("loading");
  if (coming.length) return coming.length > 1 ? `${list(coming.map(m => m.model))} are loading.` : `${coming[0].model} is ${loading(coming[0], now)}.`;
  if (doubt) return `${doubt.what}.`;
  const working = all.filter(m => m.in_flight || m.busy);
  if (working.length) return `${list(working.slice(0, 3).map(m => m.model))}${working.length > 3 ? ` and ${working.length - 3} more` : ""} ${working.length > 1 ? "are" : "is"} working. Nobody waits.`;
  if (all.length) return `${count(all.length, "model")} ready. Nobody waits.`;
  return state.models && !state.models.length ? "There are no models yet." : `Nothing is loaded. ${gb(s.available_mb)} are free.`;
}

// What a person should look at: {what, why, remedy} and, where a click helps, {act, arg, name}.
// The gravest first: `then` is what comes of it.
const graves = (s, now) => [
  ...s.devices.filter(d => d.state !== "ok").map(d => ({ what: `${label(s.devices, d.id)} cannot be read`, then: "Nothing is planned there.", why: d.problem, remedy: "What runs is left alone. `orchestrator doctor` says more." })),
  ...s.devices.filter(d => d.state === "ok" && stale(d, now)).map(d => ({ what: `${label(s.devices, d.id)} was last read ${dur(since(d.read_at, now))} ago`, then: "What you see is old.", remedy: "If this lasts, look at the daemon's log." })),
  ...Object.values(s.loaded_models).filter(m => m.status === "stuck").map(m => ({ what: `${m.model} did not stop`, then: "Nothing is started in its place.", why: m.problem || m.why_leaving, remedy: "The stop is tried again by itself.", act: "unload", arg: { model: m.model, force: true }, name: "Try again now" })),
  ...Object.values(s.loaded_models).filter(m => m.silent_since).map(m => ({ what: `${m.model} does not answer`, then: "", why: m.problem, remedy: "Its log may say why. `Unload` can cut it off." })),
];
// One cause of several models is said once.
function doubts(s) {
  const by = new Map();
  for (const m of Object.values(s.loaded_models)) if (m.problem && m.status !== "stuck" && !m.silent_since) by.set(m.problem, [...by.get(m.problem) ?? [], m.model]);
  return [...by].map(([why, names]) => ({ what: `${list(names)} ${names.length > 1 ? "do not serve as they" : "does not serve as it"} should`, why, remedy: "What runs is left alone. `orchestrator doctor` says more." }));
}
export function attention(state, now) {
  const s = state.status, found = [...graves(s, now), ...doubts(s)];
  for (const m of Object.values(s.loaded_models)) if (m.given_up.length) found.push({ what: `${m.model} runs with less`, why: list(m.given_up), remedy: "It did not fit as configured." });
  for (const m of state.models ?? []) {
    const retry = { act: "load", arg: { model: m.id }, name: `Try ${m.id} again` }, b = m.breaker, shut = b && until(b.open_until, now);
    if (m.failure) found.push({ what: `${m.id} cannot be loaded`, why: m.failure.detail, remedy: m.failure.remedy, ...retry });
    else if (b?.cause && !s.loaded_models[m.id]) found.push({ what: `${m.id} failed to start${b.failures > 1 ? ` ${b.failures} times` : ""}${shut ? `, refused for ${dur(shut)}` : ""}`, why: b.detail, remedy: b.remedy, ...retry });
  }
  const said = headline(state, now).toLowerCase();
  for (const reason of state.reasons) if (!said.includes(reason.toLowerCase()) && !found.some(f => f.why && (reason.includes(f.why) || reason.split(";")[0] === f.why.split(";")[0]))) found.push({ what: reason });
  return found;
}

// One device as a row of segments, left to right: residents, leases, foreign, free, headroom. They sum to the device.
export function segments(status, device) {
  const here = m => m.devices.find(d => d.device === device.id)?.vram_mb;
  const on = Object.values(status.loaded_models).filter(here).sort((a, b) => (a.loaded_at ?? "9") < (b.loaded_at ?? "9") ? -1 : 1);
  const held = [...on.map(m => ({ kind: m.status, who: m.model, mb: here(m), model: m })),
    ...status.leases.filter(l => l.device === device.id).map(l => ({ kind: "lease", who: l.owner ?? "a lease", mb: l.vram_mb, id: l.lease_id })),
    ...(device.foreign_mb ? [{ kind: "foreign", who: "not ours", mb: device.foreign_mb }] : [])];
  const sum = held.reduce((a, s) => a + s.mb, 0), total = device.total_mb ?? sum, unknown = device.total_mb == null, head = Math.min(device.headroom_mb, Math.max(0, total - sum));
  return [...held, unknown ? { kind: "free", who: "size unknown", mb: sum || 1 } : { kind: "free", who: device.foreign_mb == null ? "free, or not ours" : "free", mb: Math.max(0, total - sum - head) }, { kind: "headroom", who: "kept free", mb: head }];
}

// VRAM over time as strata: each holder a band as thick as its bytes, from the moment it came to the moment it left.
const at = (s, to) => [Date.parse(s.from_at), s.until_at ? Date.parse(s.until_at) : to];

export function strata(spans, device, from, to, width, height) {
  const total = device.total_mb; if (!total) return [];
  const px = t => ((Math.min(Math.max(t, from), to) - from) / (to - from) * width).toFixed(1);
  const py = mb => (height - Math.min(mb, total) / total * height).toFixed(1);
  const mine = spans.filter(s => s.device === device.id).map(s => ({ ...s, t: at(s, to) })).filter(s => s.t[1] > from && s.t[0] < to);
  // Foreign at the bottom, leases on top.
  const layer = s => s.holder === "foreign" ? "" : s.holder === "lease" ? `~${s.name}` : ` ${s.name}`;
  mine.sort((a, b) => layer(a) < layer(b) ? -1 : layer(a) > layer(b) ? 1 : a.t[0] - b.t[0]);
  const cuts = [...new Set([from, to, ...mine.flatMap(s => s.t)])].filter(t => t >= from && t <= to).sort((a, b) => a - b);
  const bands = new Map();
  for (let i = 0; i + 1 < cuts.length; i++) {
    const [a, b] = [cuts[i], cuts[i + 1]]; let base = 0;
    for (const s of mine) if (s.t[0] <= a && s.t[1] >= b) {
      const y0 = py(base), y1 = py(base += s.vram_mb), key = `${s.holder} ${s.name}`;
      bands.set(key, { holder: s.holder, name: s.name, d: `${bands.get(key)?.d ?? ""}M${px(a)} ${y0}H${px(b)}V${y1}H${px(a)}Z` });
    }
  }
  return [...bands.values()];
}
export const heldAt = (spans, device, t) => spans.filter(s => { const [a, b] = at(s, Infinity); return s.device === device && a <= t && b > t; });
