import type { Context } from "hono";
import type { Model } from "../engine/model.ts";
import { apiError, show } from "./errors.ts";
import type { KeepAlive, ModelRegistry } from "./models.ts";
import type { Slots } from "./slots.ts";

/** What every route works with. */
export interface Service {
  readonly models: ModelRegistry;
  readonly defaultModel: string;
  readonly slots: Slots;
  /** Tokens decoded since the start. */
  readonly counts: { tokens: number };
  /** Milliseconds a stream may stay unread. */
  readonly stallMs: number;
  /** Is told of every error that a client only sees as "The server had an error". */
  readonly onError: (error: unknown) => void;
}

export interface ServiceEnv {
  Variables: { requestId: string; signal: AbortSignal | undefined };
}

export function modelNotFound(name: string) {
  return apiError(404, `The model ${show(name)} does not exist`, { param: "model", code: "model_not_found" });
}

/**
 * The model a request names, or the default one, with the name it goes by here.
 *
 * @throws {HTTPException} 404 if there is none of that name, 500 if it cannot be loaded.
 */
export async function findModel(
  service: Service,
  asked: string | null | undefined,
  keepAlive: KeepAlive,
): Promise<{ name: string; model: Model }> {
  const name = asked ?? service.defaultModel;
  if (!service.models.names.includes(name)) throw modelNotFound(name);
  try {
    return { name, model: await service.models.get(name, keepAlive) };
  } catch (error) {
    service.onError(error);
    // The loader's message is for whoever runs the service, who is often the one who asks.
    throw apiError(500, error instanceof Error ? error.message : String(error), {
      code: "model_load_failed",
    });
  }
}

/** The body as JSON, whatever its content type says. */
export async function readJson(c: Context): Promise<unknown> {
  const text = await c.req.text();
  try {
    return JSON.parse(text);
  } catch (error) {
    throw apiError(400, `The request body must be JSON: ${(error as Error).message}`, {
      code: "invalid_json",
    });
  }
}
