// Events with the official CloudEvents SDK, in each mode of HTTP: proxy_cloudevents.js URL ADMIN_PASSWORD
//
// An event that comes again in another mode is a duplicate only if the proxy read the same source, type, id, key and data.

import { randomUUID } from "node:crypto";

import { CloudEvent, HTTP, type Message } from "cloudevents";

import { check, run } from "./steps.js";

const [url = ""] = process.argv.slice(2);

async function send(message: Message<unknown>): Promise<{ status: number; body: Record<string, unknown> }> {
  const headers = message.headers as Record<string, string>;
  const answer = await fetch(`${url}/v1/events`, { method: "POST", headers, body: message.body as string });
  return { status: answer.status, body: await answer.json() as Record<string, unknown> };
}

await run(async () => {
  const data: [string, unknown][] = [
    ["application/json", { message: "Euro € 😀", numbers: [1, 2.5, null] }],
    ["text/xml", "<much wow=\"xml\"/>"],
    ["application/octet-stream", Uint8Array.from({ length: 256 }, (_, byte) => byte)],
  ];
  for (const source of ["https://github.com/cloudevents", "/sensors/tn-1234567/alerts", "1-555-123-4567"]) {
    for (const [datacontenttype, value] of data) {
      const event = new CloudEvent({
        id: randomUUID(), source, type: "com.example.someevent", subject: "a subject", datacontenttype, data: value,
        dataschema: "https://example.com/schema", comexampleextension1: "value", comexampleothervalue: 5,
      });
      const step = `${source} ${datacontenttype}`;
      const first = await send(HTTP.structured(event));
      check(`structured ${step}`, first.status === 202 && !first.body.duplicate, first);
      const again = await send(HTTP.binary(event));
      check(`binary ${step}`, again.body.id === first.body.id && again.body.duplicate === true, again);
    }
  }
});
