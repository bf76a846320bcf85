/* Downloads and computes checksums off the main thread, so that neither slows the other down. */

import { crc32, hex } from "./crc32.js";

const REPORT_MS = 100;

onmessage = ({ data }) => {
  if (data.task === "download") download(data.url).catch((error) => postMessage({ kind: "failed", reason: String(error.message || error) }));
  if (data.task === "sum") postMessage({ kind: "summed", crc32: hex(crc32(new Uint8Array(data.bytes), 0)) });
};

async function download(url) {
  const requested = performance.now();
  const response = await fetch(url, { cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const length = Number(response.headers.get("content-length"));
  const promised = response.headers.get("demo-crc32");
  const reader = response.body.getReader();
  const chunks = [];
  let count = 0;
  let began = 0;
  let reported = 0;
  for (;;) {
    const { done, value } = await reader.read();
    const now = performance.now();
    if (!began) began = now;
    if (done) break;
    chunks.push(value);
    count += value.length;
    if (now - reported >= REPORT_MS) {
      reported = now;
      postMessage({ kind: "progress", count, length, seconds: (now - began) / 1000 });
    }
  }
  const ended = performance.now();
  postMessage({ kind: "arrived", count, length, seconds: (ended - requested) / 1000 });
  /* The clock has stopped: the check does not count. */
  let sum = 0;
  for (const chunk of chunks) sum = crc32(chunk, sum);
  postMessage({ kind: "checked", count, length, crc32: hex(sum), promised, checkSeconds: (performance.now() - ended) / 1000 });
}
