/* Entry point of the page. */

import { $ } from "./dom.js";
import { startLive } from "./live.js";
import { navigationTimes, noteRequest, sendAnother, showHops, showLink, showTimes, showTold } from "./path.js";
import { startSpeed } from "./speed.js";
import { showCommands, showOpening, showStory } from "./story.js";

const { trace, sample } = JSON.parse($("facts").textContent);

function show(shown, times) {
  showHops(shown, times?.protocol);
  showTold(shown.request);
  if (!times) return;
  showTimes(shown, times);
  noteRequest(times.firstByte);
}

let number = 0;
$("again").addEventListener("click", async () => {
  number += 1;
  try {
    const { trace: another, times } = await sendAnother(number);
    show(another, times);
  } catch (error) {
    $("history").textContent = `The last request failed (${error.message}).`;
  }
});

showOpening(trace);
showStory(trace);
showCommands(trace, sample);
show(trace, navigationTimes());
startLive(showLink, trace.request.forwarded_host !== null);
startSpeed();
