import { Hono } from "hono";
import { modelNotFound, type Service, type ServiceEnv } from "../service.ts";

/** `GET /v1/models` and `GET /v1/models/:id`; neither loads anything. */
export function modelRoutes(service: Service) {
  // `created` is required by clients, and when a file was made is not in it.
  const describe = (id: string) => ({ id, object: "model" as const, created: 0, owned_by: "edgewise" });
  return new Hono<ServiceEnv>()
    .get("/models", (c) => c.json({ object: "list", data: service.models.names.map(describe) }))
    .get("/models/:id{.+}", (c) => {
      const id = c.req.param("id");
      if (!service.models.names.includes(id)) throw modelNotFound(id);
      return c.json(describe(id));
    });
}
