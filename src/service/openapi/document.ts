/** The OpenAPI document of the service, made of the schemas that check its requests. For `npm run build`. */
import * as z from "zod/mini";
import { ALSO_TEXT, FIELDS, FORMS } from "./fields.ts";
import { OPERATIONS, type Operation } from "./operations.ts";

/** As much of JSON Schema as is looked at here. */
export interface Schema {
  type?: string;
  description?: string;
  enum?: readonly unknown[];
  const?: unknown;
  anyOf?: readonly Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: readonly string[];
  minimum?: number;
  maximum?: number;
  [other: string]: unknown;
}

/** As zod writes it: of what may be null the type is a list, or null is one of the alternatives. */
interface GivenSchema {
  type?: string | readonly string[];
  anyOf?: readonly GivenSchema[];
  items?: GivenSchema;
  properties?: Record<string, GivenSchema>;
  maximum?: number;
  [other: string]: unknown;
}

interface Content {
  schema: Schema;
  example?: object;
}

export interface DescribedOperation {
  operationId: string;
  summary: string;
  tags: readonly string[];
  security?: readonly object[];
  parameters?: readonly object[];
  requestBody?: { required: true; content: { "application/json": Content; [type: string]: object } };
  responses: Record<string, object>;
}

export interface OpenApi {
  openapi: string;
  info: { title: string; version: string; description: string };
  security: readonly object[];
  tags: readonly { name: string }[];
  paths: Record<string, Record<string, DescribedOperation>>;
  components: object;
}

const DESCRIPTION =
  "Decodes language models on WebAssembly SIMD. Speaks OpenAI's API; fields beside OpenAI's have the names that vLLM and " +
  "llama.cpp's server gave them. A field that is null is absent. One that would change the answer and is not supported is refused.";

const NULL: Schema = { type: "null" };

export function openApi(version: string): OpenApi {
  const paths: OpenApi["paths"] = {};
  for (const operation of OPERATIONS) {
    paths[operation.path] = { ...paths[operation.path], [operation.method]: described(operation) };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Edgewise", version, description: DESCRIPTION },
    security: [{ key: [] }],
    tags: [...new Set(OPERATIONS.map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: { key: { type: "http", scheme: "bearer" } },
      schemas: { Error: ERROR },
    },
  };
}

const nullableText: Schema = { anyOf: [{ type: "string" }, NULL] };

const ERROR: Schema = {
  type: "object",
  properties: {
    error: {
      type: "object",
      properties: {
        message: { type: "string" },
        type: { type: "string" },
        param: { ...nullableText, description: "The field that is wrong" },
        code: nullableText,
      },
      required: ["message", "type", "param", "code"],
    },
  },
  required: ["error"],
};

function described({
  id,
  summary,
  tag,
  isOpen,
  path,
  body,
  example,
  takes = [],
  answers,
}: Operation): DescribedOperation {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const types = answers ?? ["application/json"];
  return {
    operationId: id,
    summary,
    tags: [tag],
    ...(isOpen && { security: [] }),
    ...(names.length > 0 && {
      parameters: names.map((name) => ({ name, in: "path", required: true, schema: { type: "string" } })),
    }),
    ...(body && {
      requestBody: {
        required: true as const,
        content: {
          "application/json": { schema: requestSchema(body), ...(example && { example }) },
          ...Object.fromEntries(takes.map((type) => [type, {}])),
        },
      },
    }),
    responses: {
      200: { description: "The answer", content: Object.fromEntries(types.map((type) => [type, {}])) },
      default: {
        description: "What went wrong",
        content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
      },
    },
  };
}

function requestSchema(body: z.ZodMiniType): Schema {
  const schema = z.toJSONSchema(body, { io: "input", unrepresentable: "any" }) as GivenSchema;
  delete schema.$schema;
  return completed(schema);
}

/** The schema with what is known of its fields. That they may be null is said once, for all. */
function completed(schema: GivenSchema): Schema {
  const { properties, items, anyOf, type, ...rest } = schema;
  const withoutNull = anyOf?.filter(({ type }) => type !== "null");
  if (withoutNull?.length === 1) return completed({ ...rest, ...withoutNull[0] });
  if (rest.maximum === Number.MAX_SAFE_INTEGER) delete rest.maximum;
  return {
    ...(type && { type: typeof type === "string" ? type : type.find((one) => one !== "null") }),
    ...rest,
    ...(withoutNull && { anyOf: withoutNull.map(completed) }),
    ...(items && { items: completed(items) }),
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, field]) => [name, describedField(name, field)]),
      ),
    }),
  };
}

function describedField(name: string, field: GivenSchema): Schema {
  const schema = completed(field);
  const isBare = Object.keys(schema).length === 0;
  const form: Schema = isBare ? (FORMS[name] ?? {}) : schema;
  const widened = ALSO_TEXT.has(name) && form.type === "array" ? { anyOf: [{ type: "string" }, form] } : form;
  return { ...(FIELDS[name] !== undefined && { description: FIELDS[name] }), ...widened };
}
