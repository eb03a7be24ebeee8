// The workload on Restate: order, stock and payment as services of their own, called by `checkout`; and
// `checkout_inline`, the same steps in its own process with `ctx.run`. Processes share one port.
import cluster from "node:cluster";
import http2 from "node:http2";
import process from "node:process";
import * as restate from "@restatedev/restate-sdk";
import pg from "pg";

const processes = Number(process.env.PEER_PROCESSES);
const pool = new pg.Pool({ connectionString: process.env.PEER_DATABASE_URL, max: Number(process.env.PEER_POOL_SIZE) });

// Named statements are prepared once a connection.
const create = (id, sku) => pool.query({ name: "create", text: "select orders.create_order($1, $2, 1, 1000)", values: [id, sku] });
const cancel = (id) => pool.query({ name: "cancel", text: "select orders.cancel_order($1)", values: [id] });
const reserve = (id, sku) => pool.query({ name: "reserve", text: "select stock.reserve($1, $2, 1)", values: [id, sku] });
const release = (id) => pool.query({ name: "release", text: "select stock.release($1)", values: [id] });
const decide = async (id, reject) => {
  const answer = await pool.query({
    name: "decide",
    text: "select payment.decide($1, 1000, $2) as decided",
    values: [id, reject],
  });
  return answer.rows[0].decided;
};

// Each handler is one effect that is safe to repeat, and its result is durable: `ctx.run` around it would only be one
// more record in the journal.
const order = restate.service({
  name: "order",
  handlers: {
    create: async (_ctx, { id, sku }) => void (await create(id, sku)),
    cancel: async (_ctx, { id }) => void (await cancel(id)),
  },
});
const stock = restate.service({
  name: "stock",
  handlers: {
    reserve: async (_ctx, { id, sku }) => void (await reserve(id, sku)),
    release: async (_ctx, { id }) => void (await release(id)),
  },
});
const payment = restate.service({
  name: "payment",
  handlers: { decide: async (_ctx, { id, reject }) => decide(id, reject) },
});

const checkout = restate.service({
  name: "checkout",
  handlers: {
    run: async (ctx, { id, sku, reject }) => {
      await ctx.serviceClient(order).create({ id, sku });
      await ctx.serviceClient(stock).reserve({ id, sku });
      if (await ctx.serviceClient(payment).decide({ id, reject })) return "completed";
      await ctx.serviceClient(stock).release({ id });
      await ctx.serviceClient(order).cancel({ id });
      return "compensated";
    },
  },
});

const inline = restate.service({
  name: "checkout_inline",
  handlers: {
    run: async (ctx, { id, sku, reject }) => {
      await ctx.run("create_order", async () => void (await create(id, sku)));
      await ctx.run("reserve_stock", async () => void (await reserve(id, sku)));
      if (await ctx.run("pay", () => decide(id, reject))) return "completed";
      await ctx.run("release_stock", async () => void (await release(id)));
      await ctx.run("cancel_order", async () => void (await cancel(id)));
      return "compensated";
    },
  },
});

if (cluster.isPrimary && processes > 1) {
  for (let n = 0; n < processes; n += 1) cluster.fork();
  cluster.on("exit", () => process.exit(1));
  process.on("SIGTERM", () => process.exit(0));
} else {
  const services = [order, stock, payment, checkout, inline];
  http2.createServer(restate.createEndpointHandler({ services })).listen(Number(process.env.PEER_PORT), "127.0.0.1");
}
