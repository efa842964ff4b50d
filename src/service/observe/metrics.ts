/**
 * What the service counts. Stems are those that vLLM and llama.cpp's server share, so that their dashboards work with our
 * prefix; the others are ours. All of it is about this process, or this isolate of a Worker, and in a Worker clocks stand
 * still while it computes, so times there are those of waiting.
 */
import type { Model, SpeculationSummary } from "../../engine/model.ts";
import { backendOf } from "../../engine/model-backend.ts";
import { prefixCacheStats } from "../../engine/model-prompts.ts";
import type { PrefixCacheStats } from "../../engine/prefix-cache.ts";
import type { HeldBytes } from "../body.ts";
import type { Slots } from "../slots.ts";
import { Counter, Gauge, Histogram, type Labels, type Metric } from "./prometheus.ts";

const PREFIX = "edgewise:";

const named = (name: string, help: string) => ({ name: PREFIX + name, help });

/** Seconds: of whole requests, and of single tokens. */
const LONG = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320];
const SHORT = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 10];

/** Positions of drafts that are told apart; the controller's longest draft. */
const MAX_POSITIONS = 64;

export class Metrics {
  readonly requests = new Counter(named("http_requests_total", "Requests answered, by route and status"));
  readonly finished = new Counter(named("request_success_total", "Texts finished, by reason"));
  readonly promptTokens = new Counter(named("prompt_tokens_total", "Tokens of prompts"));
  readonly generatedTokens = new Counter(named("generation_tokens_total", "Tokens decoded"));
  readonly firstToken = new Histogram(
    named("time_to_first_token_seconds", "From the request to its first token"),
    LONG,
  );
  readonly nextToken = new Histogram(named("inter_token_latency_seconds", "From token to token"), SHORT);
  readonly latency = new Histogram(
    named("e2e_request_latency_seconds", "From the request to the end of its answer"),
    LONG,
  );
  readonly queued = new Histogram(named("request_queue_time_seconds", "Waiting for a slot"), LONG);
  readonly #drafts = new Counter(named("spec_decode_num_drafts_total", "Drafts verified"));
  readonly #drafted = new Counter(named("spec_decode_num_draft_tokens_total", "Tokens drafted"));
  readonly #accepted = new Counter(named("spec_decode_num_accepted_tokens_total", "Drafted tokens accepted"));
  readonly #acceptedAt = new Counter(
    named(
      "spec_decode_num_accepted_tokens_per_pos_total",
      "Drafted tokens accepted, by position in the draft",
    ),
  );
  readonly #models = new Map<string, { model: Model; idleBytes: number }>();
  readonly #gauges: readonly Metric[];

  constructor(slots: Slots, held: HeldBytes) {
    const one = (value: () => number) => (): [Labels, number][] => [[{}, value()]];
    const ofPrefixes = (value: (stats: PrefixCacheStats) => number) => (): [Labels, number][] =>
      [...this.#models].flatMap(([model_name, { model }]): [Labels, number][] => {
        const stats = prefixCacheStats(model);
        return stats === undefined ? [] : [[{ model_name }, value(stats)]];
      });
    this.#gauges = [
      new Gauge(
        named("num_requests_running", "Requests that decode"),
        one(() => slots.running),
      ),
      new Gauge(
        named("num_requests_waiting", "Requests that wait for a slot"),
        one(() => slots.waiting),
      ),
      new Gauge(
        named("request_body_bytes", "Bytes of bodies held"),
        one(() => held.held),
      ),
      new Gauge(named("weight_bytes", "Bytes of weights"), () =>
        this.#each(({ model }) => model.weightBytes),
      ),
      new Gauge(named("kv_cache_bytes", "Bytes of sequences: keys, values and rows"), () =>
        this.#each(({ model, idleBytes }) => bytesOf(model).used - idleBytes),
      ),
      new Gauge(named("kv_cache_usage_perc", "The same, of what is left beside the weights, 0 to 1"), () =>
        this.#each(({ model, idleBytes }) => {
          const { used, most } = bytesOf(model);
          return most > idleBytes ? (used - idleBytes) / (most - idleBytes) : 0;
        }),
      ),
      new Gauge(
        named("prefix_cache_queries_total", "Tokens of prompts that were looked for among beginnings kept"),
        ofPrefixes(({ queriedTokens }) => queriedTokens),
        "counter",
      ),
      new Gauge(
        named("prefix_cache_hits_total", "Tokens of prompts that were there, and not computed again"),
        ofPrefixes(({ hitTokens }) => hitTokens),
        "counter",
      ),
      new Gauge(
        named("prefix_cache_evictions_total", "Beginnings given up for others, or as memory was short"),
        ofPrefixes(({ evictions }) => evictions),
        "counter",
      ),
      new Gauge(
        named("prefix_cache_bytes", "Bytes of beginnings kept; what several share counts for each"),
        ofPrefixes(({ bytes }) => bytes),
      ),
      new Gauge(named("model_info", "Models that are loaded, 1 each"), () =>
        [...this.#models].map(([model_name, { model }]): [Labels, number] => [
          {
            model_name,
            architecture: model.architecture,
            backend: model.backend,
            build: model.build ?? "",
            fingerprint: model.fingerprint,
          },
          1,
        ]),
      ),
    ];
  }

  /** A model was found, by the name it is served under. */
  loaded(name: string, model: Model): void {
    if (this.#models.get(name)?.model === model) return;
    this.#models.set(name, { model, idleBytes: bytesOf(model).used });
  }

  speculated(
    labels: Labels,
    {
      drafted,
      accepted,
      testedAt,
      acceptedAt,
    }: Pick<SpeculationSummary, "drafted" | "accepted" | "testedAt" | "acceptedAt">,
  ): void {
    this.#drafts.add(testedAt[0] ?? 0, labels);
    this.#drafted.add(drafted, labels);
    this.#accepted.add(accepted, labels);
    for (const [position, count] of acceptedAt.slice(0, MAX_POSITIONS).entries()) {
      this.#acceptedAt.add(count, { ...labels, position: String(position) });
    }
  }

  /** All of it, as Prometheus reads it. */
  text(): string {
    const counted = [
      this.requests,
      this.finished,
      this.promptTokens,
      this.generatedTokens,
      this.#drafts,
      this.#drafted,
      this.#accepted,
      this.#acceptedAt,
      this.firstToken,
      this.nextToken,
      this.latency,
      this.queued,
    ];
    return [...this.#gauges, ...counted].map((metric) => metric.text()).join("");
  }

  #each(value: (entry: { model: Model; idleBytes: number }) => number): [Labels, number][] {
    return [...this.#models].map(([model_name, entry]) => [{ model_name }, value(entry)]);
  }
}

/** Of the memory that a model lives in; models of somebody else tell their weights only. */
function bytesOf(model: Model): { used: number; most: number } {
  const backend = backendOf(model);
  if (backend === undefined) return { used: model.weightBytes, most: model.weightBytes };
  return { used: backend.usedBytes, most: backend.maxBytes };
}
