// The tour of README with a client that openapi-typescript generated: shop_tour.js URL ADMIN_PASSWORD

import { randomUUID } from "node:crypto";

import createClient, { type Client } from "openapi-fetch";

import type { paths } from "./shop.js";
import { check, eventually, expect, key, refused, run } from "./steps.js";

const [url = "", adminPassword = ""] = process.argv.slice(2);
const adminEmail = "admin@shop.local";
const guest = createClient<paths>({ baseUrl: url });

async function signIn(email: string, password: string): Promise<Client<paths>> {
  const tokens = await expect("sign in", 201, guest.POST("/api/v1/sessions", { body: { email, password } }));
  return createClient<paths>({ baseUrl: url, headers: { authorization: `Bearer ${tokens.access_token}` } });
}

/** Reads the stream until it tells of a payment. */
async function tellsOfPayment(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of stream) {
    text += decoder.decode(piece, { stream: true });
    if (text.includes("payment-completed")) {
      break;
    }
  }
  return text;
}

await run(async () => {
  await refused("a wrong password", 401, "invalid-credentials",
                guest.POST("/api/v1/sessions", { body: { email: adminEmail, password: "not the password" } }));
  const admin = await signIn(adminEmail, adminPassword);
  const product = await expect("product", 201, admin.POST("/api/v1/products", {
    body: { name: "Moon jar mug", price: "19900", stock: 10 },
    params: key(),
  }));
  check("stock", product.available === 10 && product.on_sale, product);
  const coupon = await expect("coupon", 201, admin.POST("/api/v1/coupons", {
    body: { name: "The first three", discount: { percent: 10 }, quantity: 3 },
    params: key(),
  }));
  check("remaining coupons", coupon.remaining === 3, coupon);

  const email = `kim-${randomUUID()}@example.com`;
  const registration = { email, password: "correct horse", name: "Kim" };
  const member = await expect("register", 201, guest.POST("/api/v1/members", { body: registration }));
  check("role", member.role === "member", member);
  await refused("register again", 409, "email-taken", guest.POST("/api/v1/members", { body: registration }));
  const kim = await signIn(email, "correct horse");
  await refused("a product by a member", 403, "forbidden", kim.POST("/api/v1/products", {
    body: { name: "Mug", price: "1", stock: 1 },
  }));

  const requested = await expect("coupon request", 202, kim.POST("/api/v1/coupons/{id}/issue-requests", {
    params: { path: { id: coupon.id } },
  }));
  const result = await expect("result of the request", 200, kim.GET("/api/v1/issue-requests/{id}", {
    params: { path: { id: requested.request_id }, query: { wait: 30 } },
  }));
  check("issued coupon", result.status === "issued" && !!result.owned_coupon_id, result);

  const stream = await expect("notification stream", 200,
                              kim.GET("/api/v1/me/notifications/stream", { parseAs: "stream" }));
  const notified = tellsOfPayment(stream as unknown as ReadableStream<Uint8Array>);
  const order = await expect("order", 201, kim.POST("/api/v1/orders", {
    body: { items: [{ product_id: product.id, quantity: 2 }], coupon_id: result.owned_coupon_id },
    params: key(),
  }));
  check("amounts", order.total === "39800" && order.discount === "3980" && order.payable === "35820", order);
  const path = { id: order.id };
  await refused("payment from an empty wallet", 402, "insufficient-balance",
                kim.POST("/api/v1/orders/{id}/payment", { params: { path, ...key() } }));
  const wallet = await expect("charge", 201, kim.POST("/api/v1/wallet/charges", {
    body: { amount: "100000" },
    params: key(),
  }));
  check("balance", wallet.balance === "100000", wallet);
  const payment = await expect("payment", 201, kim.POST("/api/v1/orders/{id}/payment", { params: { path, ...key() } }));
  check("paid amount", payment.amount === "35820" && payment.order_id === order.id, payment);
  await refused("a second payment", 409, "order-state",
                kim.POST("/api/v1/orders/{id}/payment", { params: { path, ...key() } }));
  const text = await notified;
  check("notification of the payment", text.includes("payment-completed"), text);

  const events = await eventually("events of the order",
    () => kim.GET("/api/v1/orders/{id}/events", { params: { path } }),
    ({ items }) => items.some((event) => event.topic === "payment-completed")
      && items.every((event) => event.groups.every((group) => group.status === "handled")));
  check("first event", events.items[0]?.topic === "order-placed" || events.items.length > 1, events);
  const logged = await expect("payment in the event log", 200, admin.GET("/api/v1/admin/events", {
    params: { query: { topic: "payment-completed", key: order.id } },
  }));
  const [paid] = logged.items;
  check("one payment", logged.items.length === 1 && paid !== undefined && logged.next_cursor == null, logged);
  const tracked = await expect("event", 200, admin.GET("/api/v1/admin/events/{id}", {
    params: { path: { id: paid?.event.id ?? "" } },
  }));
  check("groups of the event", tracked.topic === "payment-completed" && tracked.groups.length > 1, tracked);
  const consumers = await expect("consumers", 200, admin.GET("/api/v1/admin/consumers"));
  check("settlement group", consumers.items.some((it) => it.group === "settlement" && it.position <= it.end), consumers);

  await eventually("popular products", () => guest.GET("/api/v1/products/popular"), ({ items }) =>
    items.some((it) => it.product_id === product.id && it.sold === 2)
    || (items.length === 5 && items.every((it) => it.sold >= 2)));
  await eventually("delivery", () => kim.GET("/api/v1/orders/{id}/delivery", { params: { path } }),
                   (delivery) => delivery.status === "preparing");
  await eventually("settlement", () => admin.GET("/api/v1/admin/settlements"), ({ items }) =>
    items.some((day) => day.payments >= 1 && Number(day.gross) - Number(day.discount) >= 35820));
  const fair = await expect("reconciliation", 200, admin.GET("/api/v1/admin/coupons/{id}/reconciliation", {
    params: { path: { id: coupon.id } },
  }));
  check("fair draw", fair.limit === 3 && fair.issued === 1 && fair.consistent && fair.in_log_order, fair);
  await expect("sign out", 204, kim.DELETE("/api/v1/sessions/current"));
});
