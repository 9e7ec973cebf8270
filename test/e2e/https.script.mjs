// Makes HTTPS requests to itself, in turn of TLS 1.2 and 1.3, until it is ended: node --tls-keylog=FILE https.script.mjs KEY CERT
import { readFileSync } from "node:fs";
import https from "node:https";

const [key, cert] = process.argv.slice(2).map((path) => readFileSync(path));
const server = https.createServer({ key, cert }, (_request, response) => response.end("hello"));

function request(version, next) {
  const { port } = server.address();
  const versions = { minVersion: version, maxVersion: version };
  const options = { port, host: "127.0.0.1", rejectUnauthorized: false, agent: false, ...versions };
  https.get(options, (response) => {
    response.resume();
    response.on("end", () => setTimeout(next, 20));
  });
}

const go = () => request("TLSv1.2", () => request("TLSv1.3", go));
server.listen(0, "127.0.0.1", () => {
  console.log("listening");
  go();
});
