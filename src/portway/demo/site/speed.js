/* Download and upload: throughput, and a checksum of all bytes. */

import { $ } from "./dom.js";
import { megabytes, ms, rate, whole } from "./format.js";
import { drawStrip } from "./strip.js";

const SLOTS = 60; /* one per 1/60 of the transfer */
const UPLOAD_BYTES = 50_000_000;

/** The display of one transfer: number, strip chart, bar, text, button. */
class Run {
  constructor(id, label) {
    const root = $(id);
    this.number = root.querySelector(".number");
    this.strip = root.querySelector(".strip");
    this.bar = root.querySelector("progress");
    this.text = root.querySelector(".fact");
    this.button = root.querySelector("button");
    this.label = label;
    this.reset();
    this.stopped();
    this.draw();
    new ResizeObserver(() => this.draw()).observe(this.strip);
  }

  stopped() {
    this.button.textContent = this.ran ? "Again" : "Start";
    this.button.setAttribute("aria-label", `${this.button.textContent}: ${this.label}`);
  }

  reset() {
    this.speeds = [];
    this.last = { count: 0, seconds: 0 };
    this.bar.value = 0;
  }

  begin() {
    this.ran = true;
    this.reset();
    this.number.textContent = "";
    this.show("Requesting…");
    this.button.textContent = "Stop";
    this.button.setAttribute("aria-label", `Stop: ${this.label}`);
  }

  /** Record that `count` of `length` bytes were transferred after `seconds`. */
  progress(count, length, seconds) {
    const { last } = this;
    if (seconds - last.seconds > 0.02 || count === length) {
      const speed = (count - last.count) / Math.max(seconds - last.seconds, 1e-3);
      const until = Math.round((count / length) * (SLOTS - 1));
      if (seconds - last.seconds > 0.02) {
        while (this.speeds.length <= until) this.speeds.push(speed / 1e6);
        this.last = { count, seconds };
      }
    }
    this.bar.value = count / length;
    if (seconds > 0.05) this.number.textContent = rate(count / seconds);
    this.draw();
  }

  finish(bytesPerSecond) {
    this.bar.value = 1;
    this.number.textContent = rate(bytesPerSecond);
    while (this.speeds.length < SLOTS) this.speeds.push(this.speeds.at(-1) ?? bytesPerSecond / 1e6);
    this.draw();
  }

  draw() {
    drawStrip(this.strip, this.speeds, { slots: SLOTS, top: Math.max(10, ...this.speeds), area: true });
  }

  show(text, state = "") {
    this.text.textContent = text;
    this.text.dataset.state = state;
  }
}

export function startSpeed() {
  download(new Run("down", "download 100 MB"));
  upload(new Run("up", "upload 50 MB"));
  const local = /^127\.|(^|\.)localhost$/.test(location.hostname);
  $("speed-note").textContent = local
    ? "Browser, server, agent and site share one machine, so this measures the software, not a network."
    : "The slowest part of the path is the limit, usually the agent’s or your own connection.";
}

function newWorker() {
  return new Worker("/static/speed_worker.js", { type: "module" });
}

function download(run) {
  let worker = null;
  const stop = (text, state) => {
    worker?.terminate();
    worker = null;
    run.stopped();
    if (text) run.show(text, state);
  };
  run.button.addEventListener("click", () => {
    if (worker) return stop("Stopped.");
    run.begin();
    let speed = "";
    worker = newWorker();
    worker.onerror = () => stop("The browser could not start the measurement.", "bad");
    worker.onmessage = ({ data }) => {
      if (data.kind === "progress") {
        run.progress(data.count, data.length, data.seconds);
        run.show(`${megabytes(data.count)} of ${megabytes(data.length)}`);
      } else if (data.kind === "arrived") {
        run.finish(data.count / data.seconds);
        speed = `in ${data.seconds.toFixed(2)} s`;
        run.show(`${whole(data.count)} bytes ${speed}. Checking…`);
      } else if (data.kind === "checked") {
        stop(...judgeDownload(data, speed));
      } else {
        stop(`Transfer failed: ${data.reason}.`, "bad");
      }
    };
    worker.postMessage({ task: "download", url: "/download" });
  });
}

function judgeDownload({ count, length, crc32, promised, checkSeconds }, speed) {
  if (count !== length) return [`Only ${whole(count)} of ${whole(length)} bytes arrived.`, "bad"];
  if (crc32 !== promised) return [`All bytes arrived, but the checksum differs: CRC-32 ${crc32}, expected ${promised}.`, "bad"];
  return [`${whole(count)} bytes ${speed}, all intact: CRC-32 ${crc32} here and at the site (checked afterwards, ${ms(checkSeconds)} ms).`, "good"];
}

function upload(run) {
  let request = null;
  run.button.addEventListener("click", async () => {
    if (request) return request.abort();
    run.begin();
    run.show("Generating 50 MB of random data…");
    const bytes = noise(UPLOAD_BYTES);
    const ours = await checksumOf(bytes);
    const body = new Blob([bytes]); /* passed to the browser before the clock starts */
    request = new XMLHttpRequest(); /* fetch reports no upload progress */
    let began = 0;
    const seconds = () => (performance.now() - began) / 1000;
    const end = (text, state) => {
      request = null;
      run.stopped();
      run.show(text, state);
    };
    request.upload.onprogress = ({ loaded }) => {
      run.progress(loaded, UPLOAD_BYTES, seconds());
      run.show(`${megabytes(loaded)} of ${megabytes(UPLOAD_BYTES)} passed to the network`);
    };
    request.onabort = () => end("Stopped.");
    request.onerror = () => end("Transfer failed.", "bad");
    request.onload = () => {
      const took = seconds();
      if (request.status !== 200) return end(`The site responded with status ${request.status}.`, "bad");
      const got = JSON.parse(request.responseText);
      run.finish(UPLOAD_BYTES / took);
      if (got.bytes !== UPLOAD_BYTES || got.crc32 !== ours) return end(`The site received ${whole(got.bytes)} bytes with CRC-32 ${got.crc32}, expected ${ours}.`, "bad");
      end(`${whole(got.bytes)} bytes, all intact: CRC-32 ${ours} here and at the site. ${took.toFixed(2)} s until the response arrived; the site received them in ${got.seconds.toFixed(2)} s.`, "good");
    };
    request.open("POST", "/upload");
    began = performance.now();
    request.send(body);
  });
}

/** Random data, which no hop can compress. */
function noise(count) {
  const bytes = new Uint8Array(count);
  const seed = crypto.getRandomValues(new Uint8Array(65536));
  for (let at = 0; at < count; at += seed.length) {
    bytes.set(seed.subarray(0, Math.min(seed.length, count - at)), at);
    bytes[at] ^= at >>> 16; /* each block differs, so that the checksum detects swapped ones */
  }
  return bytes;
}

function checksumOf(bytes) {
  return new Promise((resolve, reject) => {
    const worker = newWorker();
    worker.onerror = reject;
    worker.onmessage = ({ data }) => {
      worker.terminate();
      resolve(data.crc32);
    };
    worker.postMessage({ task: "sum", bytes: bytes.buffer });
  });
}
