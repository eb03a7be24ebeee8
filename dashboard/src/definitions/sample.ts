// An input to begin with, made from a definition's schema: it fits where the schema says enough, and is edited where not.

type Schema = Record<string, unknown>;

const record = (value: unknown): Schema => (value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Schema) : {});
const first = (value: unknown): unknown => (Array.isArray(value) ? (value as unknown[])[0] : undefined);
const DEPTH_MAX = 8;

export function sample(schema: unknown, name = "value", depth = 0): unknown {
  const it = record(schema);
  if ("const" in it) return it["const"];
  if ("default" in it) return it["default"];
  const given = first(it["examples"]) ?? first(it["enum"]);
  if (given !== undefined) return given;
  if (depth > DEPTH_MAX) return null;
  const chosen = first(it["oneOf"]) ?? first(it["anyOf"]);
  if (chosen !== undefined) return sample({ ...it, oneOf: undefined, anyOf: undefined, ...record(chosen) }, name, depth + 1);
  const type = Array.isArray(it["type"]) ? first(it["type"]) : it["type"];
  switch (type ?? (it["properties"] ? "object" : "string")) {
    case "object": {
      const properties = record(it["properties"]);
      const required = Array.isArray(it["required"]) ? (it["required"] as string[]) : Object.keys(properties);
      return Object.fromEntries(required.map((key) => [key, sample(properties[key], key, depth + 1)]));
    }
    case "array": return Array.from({ length: Math.max(1, Number(it["minItems"] ?? 1)) }, () => sample(it["items"], name, depth + 1));
    case "integer": case "number": return Number(it["minimum"] ?? (it["exclusiveMinimum"] === undefined ? 1 : Number(it["exclusiveMinimum"]) + 1));
    case "boolean": return false;
    case "null": return null;
    default: return `${name}-1`.padEnd(Number(it["minLength"] ?? 0), "x").slice(0, Number(it["maxLength"] ?? 200));
  }
}
