import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";

import { expect, test } from "vitest";

import { differences } from "../saga/differences";
import { get } from "./client";
import { Exact, firstLost, parseExact, writeExact } from "./exact";

const LARGE = '{"id":9007199254740993,"less":[-12345678901234567890],"text":"a \\"9007199254740993\\" b","safe":9007199254740991,"part":0.12345678901234567,"power":1e20}';

test("large whole numbers keep their digits, in every place; texts and other numbers are as they were", () => {
  const read = parseExact(LARGE) as { id: Exact; text: string; safe: number; power: number };
  expect([read.id, read.text, read.safe, read.power]).toEqual([new Exact("9007199254740993"), 'a "9007199254740993" b', Number.MAX_SAFE_INTEGER, 1e20]);
  expect(writeExact(read)).toBe(LARGE.replace("0.12345678901234567", String(0.12345678901234567)).replace("1e20", "100000000000000000000"));
  expect(writeExact(parseExact("[9007199254740993]"), 2)).toBe("[\n  9007199254740993\n]");
});

test("what the engine would round is found in what was typed, and nothing in a text is", () => {
  expect(firstLost('{"a": 1, "b": [ -9223372036854775809 ]}')).toBe("-9223372036854775809");
  expect(firstLost('{"a": 1, "b": [ 18446744073709551616 ]}')).toBe("18446744073709551616");
  expect(firstLost('{"a": "18446744073709551616", "b": 18446744073709551615, "c": 1234567890.1234567890, "d": -9223372036854775808}')).toBeNull();
});

test("what the engine answers is read so", async () => {
  const server = createServer((_, response) => response.writeHead(200, { "content-type": "application/json" }).end('{"input":{"order":12345678901234567891}}')).listen(0, "127.0.0.1");
  await once(server, "listening");
  const read = await get<{ input: { order: Exact } }>(`http://127.0.0.1:${(server.address() as AddressInfo).port}/sagas/1`);
  server.close();
  expect(read.input.order.digits).toBe("12345678901234567891");
});

test("two that a number cannot tell apart are told apart", () => {
  expect(differences(parseExact('{"a":9007199254740993}'), parseExact('{"a":9007199254740995}'))).toEqual([{ pointer: "/a", before: "9007199254740993", after: "9007199254740995" }]);
  expect(differences(parseExact('{"a":9007199254740993}'), parseExact('{"a":9007199254740993}'))).toEqual([]);
});
