/** The OpenAPI document as one page of HTML: no script, nothing from elsewhere, so it can be saved and sent. */
import type { DescribedOperation, OpenApi, Schema } from "./document.ts";

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2rem; }
details { border: 1px solid #8885; border-radius: 6px; margin: .5rem 0; padding: .5rem .75rem; }
summary { cursor: pointer; }
code, pre { font: .9em ui-monospace, monospace; }
pre { overflow: auto; background: #8882; border-radius: 6px; padding: .75rem; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid #8885; padding: .25rem .5rem .25rem 0; vertical-align: top; }
.method { display: inline-block; width: 3.5rem; font-weight: 600; text-transform: uppercase; }
.kind { color: #888; }
`;

export function page(document: OpenApi): string {
  const { info, tags, paths } = document;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const sections = tags.map(({ name }) => {
    const own = operations.filter(({ operation }) => operation.tags.includes(name));
    return `<h2>${escaped(name)}</h2>${own.map(section).join("")}`;
  });
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(info.title)} API</title><style>${STYLE}</style>
<h1>${escaped(info.title)} API <small class="kind">${escaped(info.version)}</small></h1>
<p>${escaped(info.description)}</p>
<p>Errors are objects <code>{"error": {"message", "type", "param", "code"}}</code>. A server with keys wants one in a header
<code>Authorization: Bearer KEY</code>. The same for programs: <a href="/openapi.json">openapi.json</a>.</p>
${sections.join("\n")}
</html>
`;
}

function section({
  path,
  method,
  operation,
}: {
  path: string;
  method: string;
  operation: DescribedOperation;
}) {
  const content = operation.requestBody?.content["application/json"];
  const head = `<span class="method">${method}</span> <code>${escaped(path)}</code> ${escaped(operation.summary)}`;
  if (content === undefined) return `<details><summary>${head}</summary></details>`;
  const { schema, example } = content;
  const call =
    example === undefined ? "" : `<pre>${escaped(`curl -d '${JSON.stringify(example)}' …${path}`)}</pre>`;
  return `<details><summary>${head}</summary>${call}${table(schema)}</details>`;
}

function table({ properties = {}, required = [] }: Schema): string {
  const rows = Object.entries(properties).map(([name, field]) => {
    const mark = required.includes(name) ? " <b>*</b>" : "";
    return `<tr><td><code>${escaped(name)}</code>${mark}<td class="kind">${escaped(kindOf(field))}<td>${escaped(field.description ?? "")}`;
  });
  return `<table>${rows.join("")}</table>`;
}

/** A schema in a few words. */
function kindOf(schema: Schema): string {
  const { type, anyOf, items, minimum, maximum } = schema;
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (anyOf) return anyOf.map(kindOf).join(", or ");
  if (type === "array") return `array${items ? ` of ${kindOf(items)}` : ""}`;
  const range = [minimum, maximum].map((bound) => bound ?? "").join("…");
  return range === "…" ? (type ?? "any") : `${type} ${range}`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
