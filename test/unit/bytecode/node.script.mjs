// Makes one HTTPS request to itself: node --tls-keylog=FILE node.script.mjs KEY CERT VERSION
import { readFileSync } from "node:fs";
import https from "node:https";

const [key, cert, version] = process.argv.slice(2);
const versions = { minVersion: version, maxVersion: version };
const server = https.createServer({ key: readFileSync(key), cert: readFileSync(cert), ...versions });
server.on("request", (_request, response) => response.end("hello"));
server.listen(0, "127.0.0.1", () => {
  const options = {
    port: server.address().port,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    agent: false,
    ...versions,
  };
  https.get(options, (response) => {
    response.resume();
    response.on("end", () => server.close());
  });
});
