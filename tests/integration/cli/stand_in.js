// A server that speaks gRPC over TLS, knows one API key, and writes the headers of each request as a line of JSON.
// Every question gets the empty message, which all of Temporal's answers may be.
const fs = require("fs");
const http2 = require("http2");

const [cert, key, apiKey, asked] = process.argv.slice(2);
const server = http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) });

server.on("stream", (stream, headers) => {
  process.stdout.write(JSON.stringify(headers) + "\n");
  const open = asked === "some" && headers[":path"].endsWith("/GetSystemInfo");
  const grpc = { ":status": 200, "content-type": "application/grpc" };
  if (!open && headers.authorization !== `Bearer ${apiKey}`) {
    const said = { "grpc-status": "16", "grpc-message": `unknown: ${headers.authorization}` };
    stream.respond({ ...grpc, ...said }, { endStream: true });
    return;
  }
  stream.respond(grpc, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(Buffer.alloc(5));
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
