// Requests to the inspector's API.

/** Send a request; return the JSON of a response, or throw an Error with the API's message and next step. */
async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { "X-Portway": "page", ...options.headers } });
  } catch {
    throw new Error("The agent does not respond. Is it still running?");
  }
  const text = await response.text();
  const content = text && response.headers.get("content-type")?.startsWith("application/json") ? JSON.parse(text) : null;
  if (!response.ok) {
    const error = content?.error ?? { message: `${response.status} ${response.statusText}` };
    throw new Error([error.message, error.next_step].filter(Boolean).join(". "));
  }
  return content;
}

const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value)).toString();

export const status = () => call("/api/status");
export const page = (q, before) => call(`/api/requests?${query({ q, before, limit: 500 })}`);
export const detail = (id) => call(`/api/requests/${id}`);
export const messages = (id, after) => call(`/api/requests/${id}/messages?${query({ after, limit: 200 })}`);
export const clear = () => call("/api/requests", { method: "DELETE" });
export const replay = (id, edits) =>
  call(`/api/requests/${id}/replay`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(edits) });
export const harPath = (q) => `/api/har?${query({ q })}`;

/** Call `handlers.request(summary)` and `handlers.cleared()` for changes after `after`; return a function that ends it. */
export function events(q, after, handlers) {
  const source = new EventSource(`/api/events?${query({ q })}&after=${after}`);
  source.addEventListener("request", (event) => handlers.request(JSON.parse(event.data)));
  source.addEventListener("cleared", () => handlers.cleared());
  source.onopen = () => handlers.state("live");
  source.onerror = () => handlers.state("lost");
  return () => source.close();
}
