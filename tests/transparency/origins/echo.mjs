// Echoes each request as JSON, as node's own parser understood it. Prints its port.
import { createServer } from "node:http";
import { createHash } from "node:crypto";

const pairs = (raw) => raw.reduce((all, _, at) => (at % 2 ? all : [...all, [raw[at], raw[at + 1]]]), []);

const server = createServer({ maxHeaderSize: 256 * 1024, keepAliveTimeout: 60000, requestTimeout: 0 }, (request, response) => {
  const hash = createHash("sha256");
  let bytes = 0;
  if (request.url.startsWith("/early")) {
    response.writeHead(413, { "Content-Type": "text/plain", Connection: "close" });
    response.end("too large\n");
    return;
  }
  request.on("data", (piece) => { bytes += piece.length; hash.update(piece); });
  request.on("end", () => {
    const seen = {
      method: request.method, target: request.url, version: request.httpVersion,
      fields: pairs(request.rawHeaders), trailers: pairs(request.rawTrailers), bytes, sha256: hash.digest("hex"),
    };
    const body = JSON.stringify(seen);
    if (request.url.startsWith("/hints")) response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    if (request.url.startsWith("/processing")) response.writeProcessing();
    if (request.url.startsWith("/trailers")) {
      response.writeHead(200, { "Content-Type": "application/json", Trailer: "Server-Timing, X-Checksum" });
      response.write(body);
      response.addTrailers({ "Server-Timing": "db;dur=53", "X-Checksum": "abc" });
      response.end();
      return;
    }
    response.writeHead(200, { "Content-Type": "application/json", "X-Echo": "node" });
    response.end(body);
  });
});
server.on("checkContinue", (request, response) => { response.writeContinue(); server.emit("request", request, response); });
server.on("upgrade", (request, socket) => {
  const token = request.headers.upgrade;
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${token}\r\nX-Echo: node\r\n\r\n`);
  socket.on("data", (piece) => socket.write(piece));
  socket.on("end", () => socket.end());
  socket.on("error", () => socket.destroy());
});
server.on("clientError", (error, socket) => {
  if (socket.writable) socket.end(`HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
