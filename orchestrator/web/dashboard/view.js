// The page as functions of state: what is drawn. Its acts are asked for in app.js, its figures come from state.js.
import { Component, h, render } from "/dashboard/preact.mjs";
import htm from "/dashboard/htm.mjs";
import { attention, dur, gb, headline, heldAt, label, loading, segments, since, stale, strata, until, waited } from "/dashboard/state.js";
import { ask, lines } from "/dashboard/stream.js";

// --- what all parts are made of, and what all of them may look at ---
const html = htm.bind(h);
// `mount` sets it before it draws.
const page = { hues: {}, devices: [], full: false, boss: false, act: null };
const act = (...all) => page.act(...all);
const place = id => label(page.devices, id);

// A part is rendered again only when one of its arguments is another object.
const still = view => class extends Component {
  shouldComponentUpdate(next) { return Object.keys(next).some(k => next[k] !== this.props[k]); }
  render() { return view(this.props); }
};
const pct = (a, b) => `${(100 * a / b).toFixed(3)}%`;
const clock = t => new Date(t).toTimeString().slice(0, 5);
const STATE = { loaded: "ready", draining: "finishing", unloading: "leaving", stuck: "did not stop", doubt: "in doubt" };
// Its runtime may be silent.
const standing = m => m.problem && m.status === "loaded" ? "doubt" : m.status;

const hue = name => Object.hasOwn(page.hues, name) ? `h${page.hues[name]}` : "";
const name = model => html`<b class="name ${hue(model)}">${model}</b>`;
const dot = (model, kind = "") => html`<i class="dot ${hue(model)} ${kind}"></i>`;
const none = text => html`<p class="none">${text}</p>`;
const coded = text => text.split("`").map((part, i) => i % 2 ? html`<code>${part}</code>` : part);
const remedy = text => text && html`<span class="remedy">${coded(text)}</span>`;
const button = (name, onClick, more) => html`<button ...${more} onClick=${onClick}>${name}</button>`;
const bar = (part, name, kind) => html`<progress class=${kind} aria-label=${name} value=${part} />`;
const section = (kind, title, beside, ...body) => html`<section class=${kind}><header><h2>${title}</h2>${beside}</header>${body}</section>`;
// The heads of a table's columns; those of figures end in #. The last column holds what can be done.
const table = (heads, rows) => html`<table><thead><tr>${heads.split(", ").map(h => html`<th scope="col" class=${h.endsWith("#") ? "n" : ""}>${h.replace("#", "")}</th>`)}<th scope="col"><span class="sr">Acts</span></th></tr></thead><tbody>${rows}</tbody></table>`;

// A model's name is drawn in its colour wherever it stands in a sentence, and a device has the name that it has here.
let known = {};
function know(more) {
  Object.assign(page, more);
  const { hues, devices } = page; if (known.hues === hues && known.devices === devices) return;
  const ids = devices.map(d => d.id), all = [...Object.keys(hues), ...ids].sort((a, b) => b.length - a.length);
  known = { hues, devices, ids, pattern: all.length ? new RegExp(`(${all.map(n => n.replace(/[^\w]/g, "\\$&")).join("|")})`) : null };
}
const named = text => !known.pattern ? text : text.split(known.pattern).map((part, i) => i % 2 === 0 ? part : known.ids.includes(part) ? place(part) : name(part));

// An act that cannot be undone is asked for twice, in place. Esc, or looking elsewhere, cancels.
// A double click on the first button is not an answer to its question.
const DOUBLE_CLICK_MS = 400;
class Sure extends Component {
  state = { at: 0 };
  render({ name, label, choices }, { at }) {
    const off = () => this.state.at === at && this.setState({ at: 0 });
    const sure = does => () => performance.now() - at > DOUBLE_CLICK_MS && (off(), does());
    const shown = at ? choices.map(([name, does]) => [name, sure(does), { class: "yes" }]) : [[name, () => this.setState({ at: performance.now() }), { "aria-label": label }]];
    return html`<span class=${at ? "sure" : ""} onKeyDown=${e => e.key === "Escape" && off()} onFocusOut=${e => e.currentTarget.contains(e.relatedTarget) || setTimeout(off, 250)}>${shown.map(all => button(...all))}</span>`;
  }
}

// --- devices ---
const quiet = kind => kind === "free" || kind === "headroom";
const state = m => STATE[standing(m)] ?? m.status;
const aside = p => [p.who !== "size unknown" && gb(p.mb), p.model && standing(p.model) !== "loaded" && state(p.model), p.model?.in_flight && `${p.model.in_flight} in flight`].filter(Boolean).join(" · ");
const Segment = ({ p, total, out }) => html`<div class="seg ${p.kind} ${p.model ? hue(p.who) : ""} ${out ? "out" : ""}" style=${{ width: pct(p.mb, total) }} title="${p.who}: ${aside(p)}">
  ${p.kind !== "headroom" && html`<span>${p.who}</span><small>${aside(p)}</small>`}</div>`;

const Device = still(({ status, device, plan, old }) => {
  const parts = segments(status, device), total = parts.reduce((a, p) => a + p.mb, 0) || 1, ok = device.state === "ok";
  const coming = plan?.placement.find(p => p.device === device.id), out = new Set(coming && plan.evict.map(e => e.model));
  const known = device.total_mb != null, step = 1024 * Math.max(1, 2 ** Math.ceil(Math.log2(total / 6144))), ticks = Array.from({ length: known && Math.ceil(total * .97 / step) }, (_, i) => i * step);
  const facts = [gb(device.total_mb), device.utilization_percent == null ? device.kind !== "host" && "busy: unknown" : `${Math.round(device.utilization_percent)} % busy`, device.temperature_c != null && `${Math.round(device.temperature_c)} °C`].filter(Boolean).join(" · ");
  return html`<section class="device ${ok ? "" : "dark"} ${old ? "stale" : ""}" aria-label="${place(device.id)}, ${device.name}">
    <header><h2>${place(device.id)} ${device.name !== place(device.id) && html`<span>${device.name.replace(/NVIDIA |GeForce /g, "")}</span>`}</h2><p>${!ok || old ? html`<b class="bad">${ok ? `read ${old} ago` : "cannot be read"}</b>` : html`<b>${gb(device.available_mb)}</b> a load may use<span class="wide"> of ${facts}</span>`}</p></header>
    <div class="bar" role="img" aria-label=${parts.filter(p => p.mb).map(p => `${p.who} ${aside(p)}`).join(", ")}>
      ${parts.map(p => html`<${Segment} key=${quiet(p.kind) || p.kind === "foreign" ? p.kind : p.id ?? ` ${p.who}`} p=${p} total=${total} out=${out.has(p.who)} />`)}</div>
    ${coming && html`<div class="bar then" role="img" aria-label="after loading ${plan.model}">${parts.filter(p => !quiet(p.kind) && !out.has(p.who) && p.who !== plan.model).map(p => html`<${Segment} p=${p} total=${total} />`)}
      <div class="seg new ${hue(plan.model)}" style=${{ width: pct(coming.vram_mb, total) }}><span>${plan.model}</span></div><div class="seg free"><span>then</span></div></div>`}
    <div class="ticks" aria-hidden="true">${ticks.map(t => html`<i style=${{ left: pct(t, total) }}>${t / 1024}${t ? "" : " GB"}</i>`)}</div></section>`;
});

const Attention = ({ all }) => all.length > 0 && html`<section class="attention" aria-label="What needs attention"><ul>${all.map(a => html`<li key=${a.what.replace(/\d/g, "")}><b>${named(a.what)}</b>${a.why && html`<span class="because">${coded(a.why)}</span>`}${remedy(a.remedy)}
  ${a.act && page.full && button(a.name, () => act(a.act, a.arg))}</li>`)}</ul></section>`;

// --- who waits, and what if ---
// The daemon's sentence; who is in the way stands one below the other.
function reason(text) {
  const [need, way] = text.split("; in the way: ");
  return html`<p>${named(need)}${way ? "; in the way:" : ""}</p>${way && html`<ul class="way">${way.split(/(?<=\)), /).map(w => html`<li>${named(w)}</li>`)}</ul>`}`;
}
const Queue = ({ status, now }) => section("queue", "Who waits, and why", status.queue.length > 0 && html`<span class="count">${status.queue.length}</span>`,
  !status.queue.length ? none("Nobody waits.") : html`<ol>${status.queue.map(q => html`<li key=${q.model}><div>${name(q.model)}<span>priority ${q.priority}${q.callers > 1 ? ` · ${q.callers} callers` : ""}</span></div>
    ${bar(waited(q, status, now) / q.bound_seconds, `${q.model} has waited`)}${reason(q.waits_for)}
    <p class="bound"><span>waited ${dur(waited(q, status, now))}</span><span>${until(q.possible_at, now) ? `from ${clock(Date.parse(q.possible_at))}, ` : ""}at most ${dur(q.bound_seconds)}</span></p></li>`)}</ol>`);

function planned(plan, settings) {
  const send = more => ({ model: plan.model, ...settings, ...more }), no = plan.refusal, ask = (kind, text) => page.full && button(text, () => act("load", send()), { class: kind });
  const box = (kind, text, ...can) => html`<div class="plan ${kind}" role="status">${text}<p class="do">${can}${button("Leave it", () => act("plan", null))}</p></div>`;
  if (plan.already_loaded) return box("", html`<p><b>${plan.model}</b> is here already.</p>`);
  const never = no?.code === "does_not_fit", words = s => Object.entries(s).map(([k, v]) => `${k.replace(/_/g, " ")} ${v}`).join(", ");
  if (!plan.fits) return box("no", html`<p><b>${never ? "Does not fit." : "Not now."}</b> ${named(no.detail)}${remedy(no.remedy)}</p>`,
    plan.suggestions.map(s => button(`With ${words(s)}`, () => act("plan", send(s)))), !never && ask("", "Ask all the same"));
  return box("", html`<p>${plan.evict.length ? "These would leave:" : "Nobody has to leave."}</p>
    <ul>${plan.evict.map(e => html`<li>${dot(e.model)}<b>${e.model}</b> ${gb(e.vram_mb)}<small>${e.reason}</small></li>`)}</ul>
    ${plan.given_up.length > 0 && remedy(`It would do without: ${plan.given_up.join(", ")}.`)}
    <p>${plan.model} takes ${gb(plan.vram_mb)} (${plan.vram_provenance})${plan.eta_seconds != null && html` and would be ready in about <b>${dur(plan.eta_seconds)}</b>${plan.drains && ", once those who leave have finished"}`}.</p>`, ask("go", `Load ${plan.model}`));
}
const Ask = still(({ here, models, plan, settings, looked }) => section("ask", "What if", null, html`${!models?.length ? none(models && "There is no model yet that could be loaded.") : html`<label>Load <select value=${plan?.model ?? ""} onChange=${e => act("plan", e.target.value ? { model: e.target.value } : null)}><option value="">choose a model…</option>
    ${models.map(m => html`<option value=${m.id} disabled=${!!here[m.id]}>${m.id}, ${gb(m.vram_mb)}${here[m.id] ? ", is here" : ""}</option>`)}</select></label>
  ${plan ? planned(plan, settings) : none("See who would leave before anything is done.")}`}${page.full && page.boss && html`<${Add} models=${models} looked=${looked} />`}`));

// --- what is loaded ---
const leaves = (m, now) => m.status === "stuck" ? "when it stops" : ["draining", "unloading"].includes(m.status) ? "when it is done" : m.pinned ? "pinned" : m.in_flight || m.busy ? "in use" : m.leases.length ? `kept by ${m.leases[0].owner ?? "a lease"}`
  : m.expires_at ? html`<span class="narrow">leaves </span>in ${dur(until(m.expires_at, now))}` : "when room is needed";
const ago = s => dur(s < 60 ? s : Math.floor(s / 60) * 60);
const Row = still(({ m, now }) => {
  const unload = more => () => act("unload", { model: m.model, ...more }), inUse = m.in_flight || m.status === "stuck", pin = m.pinned ? "Unpin" : "Pin";
  return html`<tr class=${m.status}><th scope="row">${dot(m.model, m.status)}<span title=${m.model}>${m.model}</span><small>${m.service}</small></th>
  <td class="at"><em class="state ${standing(m)}">${m.loading_since ? loading(m, now) : state(m)}</em>${m.why_leaving && html`<small class="why">${named(m.why_leaving)}</small>`}</td>
  <td class="n sub">${gb(m.vram_mb)}<small>${m.vram_provenance}</small></td><td class="rest">${m.devices.map(d => place(d.device)).join(" + ")}</td>
  <td class="n rest">${m.priority}</td><td class="n rest">${m.in_flight || (m.busy ? "busy" : "–")}</td><td class="rest">${m.in_flight ? "now" : `${ago(since(m.last_used_at, now))} ago`}</td><td class="leaves">${leaves(m, now)}</td>
  <td class="do">${page.full && [button("Try", () => act("ui", { talk: m.model }), { "aria-label": `Try ${m.model}` }), page.boss && button(pin, () => act("pin", { model: m.model, pinned: !m.pinned }), { "aria-label": `${pin} ${m.model}`, "aria-pressed": m.pinned }),
    html`<${Sure} name="Unload" label="Unload ${m.model}" choices=${inUse ? [[`Finish ${m.in_flight}, then unload`, unload()], ["Cut off", unload({ force: true })]] : [["Really unload", unload({ force: m.pinned })]]} />`]}</td></tr>`;
});

const Residents = ({ status, now }) => {
  const rows = Object.values(status.loaded_models).sort((a, b) => b.priority - a.priority || (a.model < b.model ? -1 : 1)), who = l => html`<b>${l.owner ?? "A lease"}</b>`, more = l => l.expires_at ? `, for ${dur(until(l.expires_at, now))} more` : "";
  const line = (l, path, text) => html`<p class="lease-line" key=${l.lease_id}><span>${text}${more(l)}.</span>${page.full && html`<${Sure} name="End" label="End the lease of ${l.owner ?? "nobody"}" choices=${[["Really end it", () => act("release", `${path}/${l.lease_id}`)]]} />`}</p>`;
  const gpu = status.devices.some(d => d.kind !== "host");
  return section("", gpu ? "In VRAM" : "In memory", null, !gpu && status.devices.length > 0 && none(html`No GPU: <code>orchestrator doctor</code> says why.`), rows.length ? table(`Model, State, ${gpu ? "VRAM" : "Memory"}#, Where, Priority#, In flight#, Last used, Leaves`, rows.map(m => html`<${Row} key=${m.model} m=${m} now=${now} />`)) : none("Nothing is loaded. The first request for a model brings it here."),
    rows.flatMap(m => m.leases.map(l => line(l, "/leases", html`${who(l)} keeps ${name(m.model)}`))),
    status.leases.map(l => line(l, "/vram/leases", html`<i class="dot lease"></i>${who(l)} holds ${gb(l.vram_mb)} on ${place(l.device)}`)));
};

const OUTCOME = { client_gone: "its client left", server_died: "its server died", ended: "ended here" };
const step = r => r.first_byte_seconds != null ? "answering" : r.model ? "working" : r.why || "waits for its model";
const speed = r => [r.tokens_out != null && `${r.tokens_out} tokens`, r.tokens_per_second && `${Math.round(r.tokens_per_second)}/s`].filter(Boolean).join(", ");
const request = (r, kind, dotted, said, figures, last) => html`<tr key=${r.id} class=${kind}><th scope="row">${dot(r.model ?? r.asked, dotted)}<span>${r.model ?? r.asked}</span></th><td class="sub">${r.owner ?? r.client}<small>${r.path}</small></td><td class="at">${said}</td><td class="n">${figures}</td><td class="do">${last}</td></tr>`;
const Requests = still(({ requests: { running, running_total, ended }, now }) => section("requests", "Requests", running_total > 8 && html`<span class="count">${running_total} at once</span>`,
  running.length + ended.length === 0 ? none("None yet. Point a client at this address, and name a model.") : table("Model, From, State, For#", [
    running.slice(0, 8).map(r => request(r, "runs", r.model ? "" : "loading", html`<em class="state ${r.model ? "loaded" : "loading"}">${named(step(r))}</em>`, dur(since(r.began_at, now)),
      page.full && html`<${Sure} name="End" label="End the request of ${r.owner ?? r.client}" choices=${[["Really end it", () => act("cancel", r.id)]]} />`)),
    ended.slice(0, Math.max(2, 6 - running.length)).map(r => request(r, "over", "", html`${OUTCOME[r.outcome] ?? r.outcome}<small>${speed(r)}</small>`, html`${dur(r.total_seconds)}<small>${r.wait_seconds >= 1 && `${dur(r.wait_seconds)} of it waiting`}</small>`, html`<time>${clock(Date.parse(r.ended_at))}</time>`))])));

// --- what has happened ---
const RANGES = [[1800, "30 min"], [10800, "3 h"], [21600, "6 h"]], W = 1000, H = 110;
const holders = spans => [...new Set(spans.map(s => s.holder === "foreign" ? "not ours" : s.name || "a lease"))].join(", ") || "empty";
const History = still(({ spans, devices, span, at: part, now: to }) => {
  const from = to - span * 1000, at = part == null ? null : from + part * span * 1000, x = t => (t - from) / (to - from) * W, line = (kind, t) => html`<path class=${kind} d="M${x(t)} 0V${H}"/>`;
  const grid = (span > 7200 ? 3600 : span > 3000 ? 1800 : 600) * 1000, lines = []; for (let t = Math.ceil(from / grid) * grid; t < to; t += grid) lines.push(t);
  const shown = devices.filter(d => d.total_mb && spans.some(s => s.device === d.id)), say = t => shown.map(d => `${place(d.id)}: ${holders(heldAt(spans, d.id, t))}`);
  const names = [...new Set(spans.filter(s => s.holder === "resident" && (!s.until_at || Date.parse(s.until_at) > from)).map(s => s.name))].sort();
  return section("history", "Who held it", html`<select aria-label="Time shown" value=${span} onChange=${e => act("ui", { span: +e.target.value })}>${RANGES.map(([s, name]) => html`<option value=${s}>${name}</option>`)}</select>`,
    !shown.length ? none("Nothing has been held yet.") : html`<div class="plots">${shown.map(d => html`<figure key=${d.id}><figcaption>${place(d.id)}</figcaption>
      <svg viewBox="0 0 ${W} ${H}" preserveAspectRatio="none" aria-hidden="true">${lines.map(t => line("grid", t))}
        ${strata(spans, d, from, to, W, H).map(b => html`<path key=${b.holder + b.name} class="band ${b.holder} ${b.holder === "resident" ? hue(b.name) : ""}" d=${b.d}/>`)}
        <path class="cap" d="M0 ${H * d.headroom_mb / d.total_mb}H${W}"/>${at && line("cursor", at)}</svg></figure>`)}
      <input type="range" min="0" max="1" step="0.002" value=${part ?? 1} aria-label="Look back in time" aria-valuetext=${at ? `${clock(at)}. ${say(at).join(". ")}` : "now"} onInput=${e => act("ui", { at: +e.target.value })} onPointerMove=${e => e.pointerType === "mouse" && act("ui", { at: Math.min(1, Math.max(0, e.offsetX / e.target.clientWidth)) })} onPointerLeave=${() => act("ui", { at: null })} />
      <div class="times" aria-hidden="true">${lines.filter(t => x(t) < .96 * W).map(t => html`<i style=${{ left: pct(t - from, to - from) }}>${clock(t)}</i>`)}</div></div>
    <p class="said">${at ? html`<b>${clock(at)}</b>${say(at).map(t => html` <span>${named(t)}</span>`)}` : html`<span class="keys">${names.map(n => html`<span key=${n}>${dot(n)}${n}</span>`)}</span>`}</p>`);
});

const BAD = new Set(["fail", "died", "stuck", "refuse"]);
const Decisions = still(({ decisions }) => section("decisions", "What was decided, and why", null, !decisions.length ? none("Nothing yet.") : html`<ol>${decisions.slice(0, 12).map(d => html`<li key=${d.id} class=${BAD.has(d.kind) ? "failed" : d.kind}><time datetime=${d.at}>${clock(Date.parse(d.at))}</time><p>${named(d.text)}${d.why && !d.text.includes(d.why) && html`<small>${named(d.why)}</small>`}${remedy(d.remedy)}</p></li>`)}</ol>`));

const size = bytes => gb(bytes / 2 ** 20);
const Downloads = still(({ all, now }) => all.length > 0 && section("downloads", "Downloads", null, all.map(d => {
  const left = d.total_bytes - d.done_bytes, speed = d.bytes_per_second, paused = !["downloading", "asking"].includes(d.phase) && (d.detail || d.phase);
  return html`<div key=${d.source}><p title=${d.source}><b>${d.file}</b></p>${bar(d.total_bytes ? d.done_bytes / d.total_bytes : 0, `${d.file} has come`, "far")}
    <p class="bound"><span>${d.total_bytes ? `${size(d.done_bytes)} of ${size(d.total_bytes)}` : "asking how much it is"}</span><span>${paused || (speed ? `${Math.round(speed / 2 ** 20)} MB/s, ${dur(left / speed)} left` : `for ${dur(since(d.started_at, now))}`)}</span></p></div>`; })));

const Logs = still(({ log, names }) => section("logs", "Log", html`<select aria-label="Whose log" value=${log.model} onChange=${e => act("log", e.target.value)}><option value="">choose a model…</option>${names.split("\n").map(n => html`<option value=${n}>${n}</option>`)}</select>`,
  log.model ? html`<pre tabindex="0" role="log" aria-label="Last log lines of ${log.model}">${log.lines.length ? log.lines.map((l, i) => html`<span key=${i}>${l}</span>`) : "Its server has said nothing yet."}</pre>` : none("A log may hold prompts: it is read only when a model is chosen.")));

// --- a chat to try a model with, and the form that adds one ---
class Talk extends Component {
  state = { said: [], draft: "", picture: null, sees: false, busy: false, problem: null, figures: "" };

  hold = dialog => { this.dialog = dialog; };
  componentDidMount() {
    this.dialog.showModal();
    ask("POST", "/api/show", { model: this.props.model }).then(told => this.setState({ sees: (told.capabilities ?? []).includes("vision") }), () => {});
  }
  componentDidUpdate() { const log = this.dialog?.querySelector(".said-all"); if (log) log.scrollTop = log.scrollHeight; }
  componentWillUnmount() { this.stop(); }
  stop() { this.leaving?.abort(); }

  async send() {
    const { said, draft, picture, busy } = this.state; if (busy || !draft.trim()) return;
    const all = [...said, { role: "user", text: draft, picture }], answer = { role: "assistant", text: "", thought: "" };
    const shown = more => this.setState({ said: [...all, { ...Object.assign(answer, more) }] });
    this.setState({ said: [...all, answer], draft: "", picture: null, busy: true, problem: null, figures: "" });
    this.leaving = new AbortController();
    const began = performance.now(); let first = null;
    try {
      const messages = all.map(({ role, text, picture: url }) => ({ role, content: url ? [{ type: "text", text }, { type: "image_url", image_url: { url } }] : text }));
      const body = await ask("POST", "/v1/chat/completions", { model: this.props.model, messages, stream: true }, { signal: this.leaving.signal, raw: true });
      for await (const line of lines(body)) {
        if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
        const event = JSON.parse(line.slice(6)), delta = event.choices?.[0]?.delta ?? {};
        if (event.error) throw Object.assign(new Error(event.error.message), event);
        if (delta.content || delta.reasoning_content) { first ??= performance.now(); shown({ text: answer.text + (delta.content ?? ""), thought: answer.thought + (delta.reasoning_content ?? "") }); }
      }
      this.setState({ figures: first && `first word after ${((first - began) / 1000).toFixed(1)} s` });
    } catch (error) { if (error.name !== "AbortError") this.setState({ problem: error }); }
    this.setState({ busy: false });
    this.dialog?.querySelector("textarea")?.focus();
  }
  take(file) {
    if (!file) return;
    const reader = new FileReader(); reader.onload = () => this.setState({ picture: reader.result }); reader.readAsDataURL(file);
  }

  render({ model, waits }, { said, draft, picture, sees, busy, problem, figures }) {
    const silent = busy && !said.at(-1).text && !said.at(-1).thought, send = e => { e.preventDefault(); this.send(); };
    return html`<dialog ref=${this.hold} class="talk" aria-label="Try ${model}" onClose=${() => act("ui", { talk: null })}><header><h2>Try ${name(model)}</h2>${button("Close", () => this.dialog.close())}</header>
      <div class="said-all" tabindex="0" role="log" aria-label="Conversation">${!said.length && none(`Say something. ${waits}`)}
        ${said.map((m, i) => html`<div key=${i} class=${m.role}>${m.thought && html`<p class="thought">${m.thought}</p>`}<p>${m.text}</p>${m.picture && html`<img src=${m.picture} alt="the picture that was sent" />`}</div>`)}
        ${silent && html`<p class="none" role="status">${waits || "It reads…"}</p>`}${figures && html`<p class="none figures">${figures}</p>`}${problem && html`<p class="bad" role="alert">${problem.message}${remedy(problem.remedy)}</p>`}</div>
      <form onSubmit=${send}><textarea rows="2" autofocus aria-label="Message" placeholder="Message, Enter sends" value=${draft} onInput=${e => this.setState({ draft: e.target.value })} onKeyDown=${e => e.key === "Enter" && !e.shiftKey && !e.isComposing && send(e)}></textarea>
        ${sees && html`<label class="file">${picture ? html`<img src=${picture} alt="to be sent" />` : "Picture"}<input class="sr" type="file" accept="image/*" onChange=${e => this.take(e.target.files[0])} /></label>`}
        ${busy ? button("Stop", () => this.stop(), { type: "button" }) : button("Send", null, { class: "go" })}</form></dialog>`;
  }
}

// What is named is looked at first: what it takes, and whether that fits. Only then it is added, or brought.
const FILES_SHOWN = 8;
class Add extends Component {
  state = { file: "", files: [] };
  componentDidMount() { this.find(); }
  componentDidUpdate(before) { if (before.models !== this.props.models) this.find(); }
  find() { ask("GET", "/files").then(told => this.setState({ files: told.files }), () => {}); }
  render({ looked: l }, { file, files }) {
    return html`<form class="add" onSubmit=${e => { e.preventDefault(); if (file.trim()) act("look", { file: file.trim() }); }}><label for="add">Add a model</label>
      <div><input id="add" value=${file} placeholder="ORG/REPO:Q4_K_M, or a file" autocomplete="off" spellcheck=${false} onInput=${e => this.setState({ file: e.target.value })} /><button>Look</button></div>
      ${l && html`<div class="looked" role="status"><p><b>${l.name}</b> would take ${gb(l.vram_mb)}${l.vram_mb > Math.max(...page.devices.map(d => (d.total_mb ?? Infinity) - d.headroom_mb)) && ", more than any device here has"}${l.doubts.length > 0 && `, not quite sure: ${l.doubts[0]}`}.</p>${button(l.hub ? "Bring it" : "Add it", () => act("add", l), { type: "button", class: "go" })}</div>`}
      ${files.length > 0 && html`<p>Here already, and not a model yet:</p><ul>${files.slice(0, FILES_SHOWN).map(f => html`<li key=${f.file}><span title=${f.file}>${f.file.replace(/^.*\//, "")}</span><small>${gb(f.size_mb)}</small>${button("Look", () => act("look", f), { type: "button", "aria-label": `Look at ${f.file}` })}</li>`)}</ul>${files.length > FILES_SHOWN && html`<p>and ${files.length - FILES_SHOWN} more</p>`}`}</form>`;
  }
}

// --- the page ---
const First = () => html`<section class="first"><h2>How models come here</h2><ul>
  <li><b>From a folder.</b> <code>orchestrator serve ~/models</code> makes a model of every GGUF file in it.</li>
  <li><b>From a hub.</b> ${page.full ? html`Name it under <b>Add a model</b>. A small one to begin with: ${button("Qwen3-0.6B, 0.6 GB", () => act("look", { file: "Qwen/Qwen3-0.6B-GGUF:Q8_0" }))}` : html`<code>orchestrator add Qwen/Qwen3-0.6B-GGUF:Q8_0</code>`}</li></ul></section>`;

const Notes = ({ notes }) => html`<div class="notes" aria-live="polite">${notes.map(n => html`<div key=${n.id} class="note ${n.kind}"><p>${n.text}${remedy(n.remedy)}</p>${button("×", () => act("dismiss", n.id), { "aria-label": "Dismiss" })}</div>`)}</div>`;

const Top = ({ state, who }) => html`<header class="top"><h1>VRAM Orchestrator</h1><p class="link ${state.link}" role="status">${state.link === "live" ? "live" : state.link === "locked" ? "logged out" : state.status ? "reconnecting…" : "connecting…"}</p>${!page.full && html`<p class="mode">only looking</p>`}${who && button(`Log out ${who}`, () => act("leave"))}<nav><a href="/docs">API</a><a href="/metrics">Metrics</a></nav></header>`;

// The key goes into a cookie that no script reads; nothing of it is kept here.
const Enter = () => html`<form class="boot" onSubmit=${e => { e.preventDefault(); act("enter", e.target[0].value); }}><label>API key <input type="password" autocomplete="current-password" required /></label> <button>Log in</button></form>`;

// What a chat says while its model does not answer yet.
function waits(s, model, now) {
  const m = s.loaded_models[model], q = s.queue.find(q => q.model === model);
  return q ? q.waits_for : m?.loading_since ? `It is ${loading(m, now)}.` : m ? "" : "It is loaded first.";
}
function Page({ state, ui, now: exact }) {
  const s = state.status, top = html`<${Top} state=${state} who=${ui.who} />`, now = Math.floor(exact / 1000) * 1000, said = headline(state, now);
  if (state.link === "locked") return html`${top}<${Enter} /><${Notes} notes=${ui.notes} />`;
  if (!s) return html`${top}<p class="boot">${said}</p>`;
  const all = Object.values(s.loaded_models), models = state.models ?? [], flight = Math.max(state.requests.running_total, all.reduce((a, m) => a + m.in_flight, 0));
  return html`${top}<main class=${state.link === "live" ? "" : "old"}><div class="lead"><p class="headline">${named(said.replace(/(\d) (?=(min|s|h|GB)\b)/g, "$1\u00a0"))}</p><p class="sr" role="status">${said.replace(/,? (at most|longer|is \d|was last|\d).*/, "")}</p>
      ${state.link !== "live" && none("Models that run serve on. This page goes on by itself when the daemon is back.")}
      <p class="sum">${s.total_mb == null ? html`<b>unknown</b> what is held` : html`<b>${gb(s.used_mb)}</b> of ${gb(s.total_mb)} held <b>${gb(s.available_mb)}</b> a load may use`} <b>${all.filter(m => standing(m) === "loaded").length}</b> ready <b>${flight}</b> ${flight === 1 ? "request" : "requests"} now</p></div>
    <div class="col"><${Attention} all=${attention(state, now)} />
      ${state.models && !models.length && html`<${First} />`}<div class="devices">${s.devices.length ? s.devices.map(d => html`<${Device} key=${d.id} status=${s} device=${d} plan=${state.plan?.fits ? state.plan : null} old=${stale(d, now) && dur(since(d.read_at, now))} />`) : none(html`No GPU and no host memory has been read yet. <code>orchestrator doctor</code> says what this machine has.`)}</div>
      <${Residents} status=${s} now=${now} /><${Requests} requests=${state.requests} now=${now} />
      <${History} spans=${state.spans} devices=${s.devices} span=${ui.span} at=${ui.at} now=${Math.floor(now / 5000) * 5000} /><${Logs} log=${ui.log} names=${[...new Set([...Object.keys(s.loaded_models), ...models.map(m => m.id)])].join("\n")} /></div>
    <aside class="col"><${Queue} status=${s} now=${now} /><${Ask} here=${s.loaded_models} models=${state.models} plan=${state.plan} settings=${ui.settings} looked=${ui.looked} /><${Downloads} all=${s.downloads} now=${now} /><${Decisions} decisions=${state.decisions} /></aside></main>
    <${Notes} notes=${ui.notes} />${ui.talk && html`<${Talk} key=${ui.talk} model=${ui.talk} waits=${waits(s, ui.talk, now)} />`}`;
}
export function mount(root, state, ui, acting, now) {
  know({ hues: state.hues, devices: state.status?.devices ?? [], full: ui.full, boss: ui.boss, act: acting });
  render(html`<${Page} state=${state} ui=${ui} now=${now} />`, root);
}
