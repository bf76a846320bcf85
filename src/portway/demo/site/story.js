/* Explanations: what happened, and what to try. */

import { $, make } from "./dom.js";

const code = (text) => make("code", "", text);

export function showOpening(trace) {
  if (trace.request.forwarded_host === null) {
    $("title").textContent = "This page came directly from the site.";
    $("lead").replaceChildren("The request passed no tunnel. Open the address that ", code("portway demo"), " printed, and compare the numbers.");
    document.title = "Portway demo: directly from the site";
    return;
  }
  $("lead").replaceChildren(
    "You requested ", make("strong", "", trace.request.forwarded_host), ". The site behind it listens on ",
    make("strong", "", trace.site.address), " and accepts no connections from outside: the agent next to it connected to the server, and your request came in through that link.",
  );
}

export function showStory({ request, site }) {
  const first = isLocalName()
    ? ["Your browser connected to ", code(location.host), ". Names under ", code("localhost"), " always mean your own machine, so no DNS was needed."]
    : ["Your browser connected to ", code(location.host), ", which is the server."];
  const steps = request.forwarded_host === null
    ? [["Your browser connected to ", code(location.host), ", which is the site itself. With the tunnel, a server and an agent are in between."]]
    : [
        first,
        ["The server’s HTTP edge read the head of the request, looked up which tunnel owns ", code(request.host.split(":")[0]), ", and opened or reused a stream to it."],
        ["The stream ran inside the link that the agent keeps open, next to the streams of the WebSocket and of other visitors."],
        ["The agent passed the bytes to ", code(site.address), " unchanged, and the response came back on the same stream."],
      ];
  $("story").replaceChildren(...steps.map((parts) => make("li", "", ...parts)));
}

export function showCommands({ request }, { sha256 }) {
  const here = location.origin;
  const list = [
    ["What the site receives if a request forges its headers", `curl -H 'X-Forwarded-For: 6.6.6.6' ${here}/trace`],
    ["The same 100 MB, with a checksum", `curl ${here}/download | sha256sum`, `Expect ${sha256.slice(0, 16)}…${sha256.slice(-8)}`],
    ["Upload a gigabyte; the site counts and discards it", `head -c 1G /dev/zero | curl -T - ${here}/upload`],
    ["Time to the first byte, measured by curl", `curl -so /dev/null -w '%{time_starttransfer} s\\n' ${here}/trace`],
  ];
  if (request.forwarded_host !== null) {
    const unknown = location.host.replace(/^[^.]+/, "unknown");
    list.splice(3, 0, ["The error for a name that is not published", `curl -i ${location.protocol}//${unknown}/`]);
    list.push(["Expose your own service (the terminal shows how to join this server)", "portway http 3000 --name mine"]);
  }
  $("commands").replaceChildren(...list.map(([label, command, note]) => commandItem(label, command, note)));
}

function commandItem(label, command, note) {
  const copy = make("button", "", "Copy");
  copy.type = "button";
  copy.setAttribute("aria-label", `Copy: ${command}`);
  copy.addEventListener("click", async () => {
    const done = await copyText(command);
    copy.textContent = done ? "Copied" : "Select it";
    setTimeout(() => (copy.textContent = "Copy"), 1600);
  });
  const line = code(command);
  line.tabIndex = 0; /* scrolls horizontally, so it needs keyboard focus */
  const item = make("li", "", make("p", "", label), make("div", "command", line, copy));
  if (note) item.append(make("p", "fact", note));
  return item;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function isLocalName() {
  return location.hostname === "localhost" || location.hostname.endsWith(".localhost");
}
