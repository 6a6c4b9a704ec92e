// A validator for the part of JSON Schema (draft 2020-12) that our schema uses. A keyword that it does not know throws, so
// that the schema cannot grow beyond what is tested.

type Schema = { readonly [keyword: string]: unknown };
const ANNOTATIONS = ["$schema", "$defs", "title", "description", "default"];

export function accepts(root: Schema, value: unknown, schema: Schema = root): boolean {
  return Object.entries(schema).every(([keyword, argument]) => ANNOTATIONS.includes(keyword) || holds(root, schema, keyword, argument, value));
}

function holds(root: Schema, schema: Schema, keyword: string, argument: unknown, value: unknown): boolean {
  const object = typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Schema) : null;
  switch (keyword) {
    case "$ref": return accepts(root, value, (root["$defs"] as Record<string, Schema>)[String(argument).replace("#/$defs/", "")] as Schema);
    case "anyOf": return (argument as Schema[]).some((one) => accepts(root, value, one));
    case "oneOf": return (argument as Schema[]).filter((one) => accepts(root, value, one)).length === 1;
    case "type": return isOfType(value, String(argument));
    case "const": return value === argument;
    case "enum": return (argument as unknown[]).includes(value);
    case "pattern": return typeof value !== "string" || new RegExp(String(argument), "u").test(value);
    case "minLength": return typeof value !== "string" || value.length >= Number(argument);
    case "minimum": return typeof value !== "number" || value >= Number(argument);
    case "maximum": return typeof value !== "number" || value <= Number(argument);
    case "minItems": return !Array.isArray(value) || value.length >= Number(argument);
    case "items": return !Array.isArray(value) || value.every((item) => accepts(root, item, argument as Schema));
    case "required": return object === null || (argument as string[]).every((key) => key in object);
    case "propertyNames": return object === null || Object.keys(object).every((key) => accepts(root, key, argument as Schema));
    case "properties": return object === null || Object.entries(argument as Record<string, Schema>).every(([key, one]) => !(key in object) || accepts(root, object[key], one));
    case "additionalProperties": return object === null || Object.keys(object).every((key) => isDeclared(schema, key) || (argument !== false && accepts(root, object[key], argument as Schema)));
    default: throw new Error(`the test's validator does not know the keyword "${keyword}"`);
  }
}

function isDeclared(schema: Schema, key: string): boolean {
  return key in ((schema["properties"] as Schema | undefined) ?? {});
}

function isOfType(value: unknown, type: string): boolean {
  if (type === "array") return Array.isArray(value);
  if (type === "integer") return Number.isInteger(value);
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  return typeof value === type;
}
