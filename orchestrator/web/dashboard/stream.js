// How the page speaks with the daemon: its events, and what is asked of it.
// As a SharedWorker it listens once for all tabs: six with a stream each would use up HTTP/1.1's six connections.
import { blank, reduce } from "/dashboard/state.js";

// An EventSource gives up by itself where it was refused.
const AGAIN_MS = 3000;
// Who is not logged in is asked for a key meanwhile, and each try is a refusal in the audit log.
const LOCKED_MS = 60_000;

export function listen(tell) {
  let source, wanted, timer;
  // Several changes, one question.
  const catalogue = () => { clearTimeout(wanted); wanted = setTimeout(fetched, 200); };
  // A daemon that is gone is said by the stream, which asks again when it is back.
  const fetched = () => ask("GET", "/models").then(told => tell({ type: "models", models: told.data }), () => {});
  function open() {
    source = new EventSource("/events?requests=true");
    source.onmessage = message => {
      const event = JSON.parse(message.data);
      if (event.type === "snapshot" || event.type === "catalogue") catalogue();
      tell(event);
    };
    source.onerror = () => {
      tell({ type: "link", link: "lost" });
      if (source.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(open, AGAIN_MS);
      // Refused, and an EventSource does not say why.
      ask("GET", "/auth/whoami").catch(error => {
        if (error.status !== 401 || !source) return;
        clearTimeout(timer);
        timer = setTimeout(open, LOCKED_MS);
        tell({ type: "link", link: "locked" });
      });
    };
  }
  open();
  return () => { clearTimeout(timer); clearTimeout(wanted); source.close(); source = null; };
}

const ports = new Set();
let state = blank, close = null;
const tell = event => { state = reduce(state, event); for (const port of ports) port.postMessage(event); };
self.onconnect = ({ ports: [port] }) => {
  ports.add(port);
  // "bye" is all that pages say.
  port.onmessage = () => {
    ports.delete(port);
    if (!ports.size) { close(); close = null; state = blank; }
  };
  // One that has logged in does so for all.
  if (!close || state.link === "locked") { close?.(); state = blank; return close = listen(tell); }
  const { status, models, requests, link } = state, catchUp = [status && { ...state, type: "snapshot", decisions: [...state.decisions].reverse() }, models && { type: "models", models }, { ...requests, type: "requests" }, { type: "link", link }];
  for (const event of catchUp) if (event) port.postMessage(event);
};

// What is refused is thrown, with the daemon's sentence and its remedy. `raw`: the body, as it comes.
export async function ask(method, path, body, { raw, signal } = {}) {
  const answer = await fetch(path, { method, signal, ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }) }).catch(error => {
    throw error.name === "AbortError" ? error : new Error("The daemon does not answer.");
  });
  if (raw && answer.ok) return answer.body;
  const told = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  throw Object.assign(new Error(told.detail ?? told.error?.message ?? told.error ?? `${method} ${path}: ${answer.status}`), { remedy: told.remedy, status: answer.status });
}

export async function* lines(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read(), all = (rest + (value ?? "")).split("\n");
    rest = done ? "" : all.pop();
    for (const line of all) if (line.trim()) yield line.trimEnd();
    if (done) return;
  }
}
