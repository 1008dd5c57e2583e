// A webhook receiver in Node, with the standardwebhooks package.
//
//     npm install
//     WEBHOOK_SECRET=whsec_... node receiver.js [PORT]
"use strict";

const http = require("node:http");
const { Webhook } = require("standardwebhooks");

const secret = process.env.WEBHOOK_SECRET;
if (!secret) throw new Error("WEBHOOK_SECRET is not set");
// The library takes a text for base64, with or without whsec_; a secret of another form is given as bytes.
const webhook = secret.startsWith("whsec_") ? new Webhook(secret) : new Webhook(Buffer.from(secret), { format: "raw" });

// Deliveries come at least once. In a real program these are in the database, written with what the delivery causes.
const seen = new Set();

/** What to answer, and the line to print. */
function receive(headers, body) {
  try {
    // The bytes as they came, before anything parses them.
    webhook.verify(body, headers, { jsonParse: false });
  } catch (error) {
    return [401, `401 refused: ${error.message}`];
  }
  const delivery = headers["webhook-id"];
  const note = seen.has(delivery) ? "seen before" : "verified";
  seen.add(delivery);
  const job = JSON.parse(body).id;
  return [200, `200 ${headers["x-webhook-event"]} ${job} attempt ${headers["x-webhook-attempt"]} ${delivery} ${note}`];
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const [status, line] = receive(request.headers, Buffer.concat(chunks));
    console.log(line);
    response.writeHead(status, { "Content-Length": 0 }).end();
  });
});

server.listen(Number(process.argv[2] ?? 9000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/`);
});
