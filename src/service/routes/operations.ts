import { Hono } from "hono";
import { documentJson, documentPage } from "../../../build/openapi.js";
import type { Service, ServiceEnv } from "../service.ts";

/** What whoever runs the service looks at, and what describes it: `/health`, `/metrics`, `/openapi.json`, `/docs`. */
export function operationRoutes(service: Service) {
  const { slots, counts, metrics } = service;
  return (
    new Hono<ServiceEnv>()
      // All of this isolate: a Worker's others have their own.
      .get("/health", (c) =>
        c.json({
          status: "ok",
          running: slots.running,
          waiting: slots.waiting,
          decoded_tokens: counts.tokens,
        }),
      )
      .get("/metrics", (c) => c.text(metrics.text(), 200, { "content-type": "text/plain; version=0.0.4" }))
      .get("/openapi.json", (c) => c.body(documentJson, 200, { "content-type": "application/json" }))
      .get("/docs", (c) => c.html(documentPage))
  );
}
