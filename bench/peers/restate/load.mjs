// The load: calls over HTTP with connections that are kept. Reads `run STEM FIRST SAGAS IN_FLIGHT` lines and answers
// each with a line of JSON.
import http from "node:http";
import { createInterface } from "node:readline";

const url = new URL(process.env.PEER_URL);
const skus = Number(process.env.PEER_SKUS);

function call(agent, body) {
  const text = JSON.stringify(body);
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: "POST", agent, headers }, (response) => {
      let answer = "";
      response.setEncoding("utf8");
      response.on("data", (part) => (answer += part));
      response.on("end", () => resolve(response.statusCode === 200 ? JSON.parse(answer) : `${response.statusCode} ${answer}`));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.setTimeout(60_000, () => request.destroy(new Error("no answer for 60 s")));
    request.end(text);
  });
}

async function run(stem, first, sagas, inFlight) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: inFlight });
  const result = { started: Date.now() / 1000, ended: 0, ms: [], completed: 0, compensated: 0, other: 0, example: null };
  let next = first;
  const worker = async () => {
    // What ends otherwise fails the run: there is no use in going on.
    while (next < first + sagas && !result.other) {
      const n = next++;
      const began = performance.now();
      const body = { id: `${stem}-${n}`, sku: `s${n % skus}`, reject: n % 10 === 9 };
      const word = await call(agent, body).catch(String);
      result.ms.push(performance.now() - began);
      if (word === "completed") result.completed += 1;
      else if (word === "compensated") result.compensated += 1;
      else {
        result.other += 1;
        result.example ??= String(word);
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  result.ended = Date.now() / 1000;
  agent.destroy();
  return result;
}

console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const [, stem, first, sagas, inFlight] = line.split(" ");
  console.log(JSON.stringify(await run(stem, Number(first), Number(sagas), Number(inFlight))));
}
