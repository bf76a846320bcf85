/* Words around the measurements: what happened, and what to try. */

import { $, make } from "./dom.js";

const code = (text) => make("code", "", text);

export function showOpening(trace) {
  if (trace.request.forwarded_host === null) {
    $("title").textContent = "This page came straight from the site.";
    $("lead").replaceChildren("There was no tunnel on the way. Open the address that ", code("portway demo"), " printed, and compare the numbers.");
    document.title = "Portway demo: straight from the site";
    return;
  }
  $("lead").replaceChildren(
    "You asked ", make("strong", "", trace.request.forwarded_host), ". The site that answered listens on ",
    make("strong", "", trace.site.address), " and opened nothing to the outside: the agent beside it dialled out, and your request went back in along that link.",
  );
}

export function showStory({ request, site }) {
  const asked = isLocalName()
    ? ["Your browser asked ", code(location.host), ". Names under ", code("localhost"), " always mean your own machine, so no DNS was needed."]
    : ["Your browser asked ", code(location.host), ", and that is the server."];
  const steps = request.forwarded_host === null
    ? [["Your browser asked ", code(location.host), ", and the site answered by itself. Through the tunnel there are a server and an agent in between."]]
    : [
        asked,
        ["The server’s HTTP edge read the head of the request, looked up which tunnel owns ", code(request.host.split(":")[0]), ", and opened or reused a stream to it."],
        ["The stream ran inside the link that the agent keeps open, next to the WebSocket’s stream and everybody else’s."],
        ["The agent passed the bytes to ", code(site.address), " without reading them, and the answer came back on the same stream."],
      ];
  $("story").replaceChildren(...steps.map((parts) => make("li", "", ...parts)));
}

export function showCommands({ request }, { sha256 }) {
  const here = location.origin;
  const list = [
    ["What the site sees of a request that forges its headers", `curl -H 'X-Forwarded-For: 6.6.6.6' ${here}/trace`],
    ["The same 100 MB, checked to the last bit", `curl ${here}/download | sha256sum`, `Expect ${sha256.slice(0, 16)}…${sha256.slice(-8)}`],
    ["Send a gigabyte up; the site counts and forgets it", `head -c 1G /dev/zero | curl -T - ${here}/upload`],
    ["How long curl waits for the first byte", `curl -so /dev/null -w '%{time_starttransfer} s\\n' ${here}/trace`],
  ];
  if (request.forwarded_host !== null) {
    const nobody = location.host.replace(/^[^.]+/, "nobody");
    list.splice(3, 0, ["Is anything there that nobody published?", `curl -i ${location.protocol}//${nobody}/`]);
    list.push(["Publish something of your own (the terminal says how to join this server)", "portway http 3000 --name mine"]);
  }
  $("commands").replaceChildren(...list.map(([words, command, note]) => commandItem(words, command, note)));
}

function commandItem(words, command, note) {
  const copy = make("button", "", "Copy");
  copy.type = "button";
  copy.setAttribute("aria-label", `Copy: ${command}`);
  copy.addEventListener("click", async () => {
    const done = await copyText(command);
    copy.textContent = done ? "Copied" : "Select it";
    setTimeout(() => (copy.textContent = "Copy"), 1600);
  });
  const line = code(command);
  line.tabIndex = 0; /* it scrolls sideways, so it must take the keyboard */
  const item = make("li", "", make("p", "", words), make("div", "command", line, copy));
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
