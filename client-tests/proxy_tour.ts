// Events and the admin's routes with a client that openapi-typescript generated: proxy_tour.js URL ADMIN_PASSWORD

import { randomUUID } from "node:crypto";

import createClient from "openapi-fetch";

import type { paths } from "./proxy.js";
import { check, eventually, expect, refused, run } from "./steps.js";

const [url = "", adminPassword = ""] = process.argv.slice(2);
const service = createClient<paths>({ baseUrl: url });
const credentials = Buffer.from(`admin:${adminPassword}`).toString("base64");
const admin = createClient<paths>({ baseUrl: url, headers: { authorization: `Basic ${credentials}` } });

await run(async () => {
  const name = `tour-${randomUUID().slice(0, 8)}`;
  const topic = `${name}.payment-failed`;
  const event = { service: name, type: "payment-failed", data: { reason: "card" } };
  await refused("topics without a password", 401, "unauthorized", service.GET("/v1/admin/topics"));
  const made = await expect("topic", 201, admin.POST("/v1/admin/topics", {
    body: { services: [name], types: ["payment-failed"], partitions: 2 },
  }));
  check("made topic", made.items.length === 1 && made.items[0]?.name === topic, made);

  const taken = await expect("event", 202, service.POST("/v1/events", {
    body: { ...event, key: "order-17", level: "error" },
  }));
  if (!("receipt" in taken)) {
    throw new Error(`event: ${JSON.stringify(taken)}`);
  }
  const several = await expect("array of events", 202, service.POST("/v1/events", {
    body: [event, { ...event, id: "18" }],
    params: { query: { ack: "memory" } },
  }));
  check("an item each", "items" in several && several.items.every((item) => item.status === 202), several);
  await refused("an event without a type", 422, "invalid-request",
                service.POST("/v1/events", { body: { service: name, data: 1 } as never }));
  const receipt = await expect("receipt", 200, service.GET("/v1/receipts/{receipt}", {
    params: { path: { receipt: taken.receipt } },
  }));
  check("fate of the event", ["delivered", "queued"].includes(receipt.status) && receipt.topic === topic, receipt);
  await refused("an unknown receipt", 404, "not-found",
                service.GET("/v1/receipts/{receipt}", { params: { path: { receipt: "none" } } }));
  await eventually("ledger", () => service.GET("/v1/ledger"), (ledger) => ledger[topic]?.accepted === 3);

  const listed = await expect("topics", 200, admin.GET("/v1/admin/topics"));
  check("listed topic", listed.items.some((it) => it.name === topic && it.partitions === 2), listed);
  const one = await expect("one topic", 200, admin.GET("/v1/admin/topics/{name}", { params: { path: { name: topic } } }));
  check("its events", one.events.accepted === 3, one);
  const letters = await expect("dead letters", 200, admin.GET("/v1/admin/dead-letters", { params: { query: { topic } } }));
  check("no dead letters", letters.items.length === 0, letters);
  const redriven = await expect("redrive", 200, admin.POST("/v1/admin/redrives", {
    body: { filter: { topic }, dry_run: true },
  }));
  check("nothing to redrive", redriven.matched === 0, redriven);

  const key = await expect("API key", 201, admin.POST("/v1/admin/api-keys", { body: { name, services: [name] } }));
  const keyed = createClient<paths>({ baseUrl: url, headers: { authorization: `Bearer ${key.key}` } });
  await expect("event with a key", 202, keyed.POST("/v1/events", { body: event }));
  await refused("event of another service", 403, "service-not-allowed",
                keyed.POST("/v1/events", { body: { ...event, service: "another" } }));
  const path = { id: key.id };
  const rotated = await expect("new key", 200, admin.POST("/v1/admin/api-keys/{id}/rotate", { params: { path } }));
  check("another key", rotated.id === key.id && rotated.key !== key.key, rotated.id);
  const keys = await expect("API keys", 200, admin.GET("/v1/admin/api-keys"));
  check("listed key", keys.items.some((it) => it.id === key.id), keys);
  await expect("revocation", 204, admin.DELETE("/v1/admin/api-keys/{id}", { params: { path } }));
  const audit = await expect("audit log", 200, admin.GET("/v1/admin/audit", { params: { query: { limit: 100 } } }));
  check("audited topic", audit.items.some((it) => it.action === "topic.create" && it.subject === topic), audit);
});
