// How the page speaks with the daemon: its events, and what is asked of it.
// As a SharedWorker it listens once for all tabs: HTTP/1.1 has six connections.
import { blank, reduce } from "/dashboard/state.js";

// Refused, an EventSource gives up and says not why. Without a login each try is audited.
const AGAIN_MS = 3000, LOCKED_MS = 60_000;

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
    source.onerror = async () => {
      tell({ type: "link", link: "lost" });
      if (source.readyState !== EventSource.CLOSED) return;
      let again = AGAIN_MS;
      await ask("GET", "/auth/whoami").catch(({ status }) => {
        if (status !== 401) return;
        again = LOCKED_MS;
        tell({ type: "link", link: "locked" });
      });
      if (source) timer = setTimeout(open, again);
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
  // A login is one of all tabs.
  if (!close || state.link === "locked") { close?.(); state = blank; return close = listen(tell); }
  port.postMessage({ type: "whole", state });
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
