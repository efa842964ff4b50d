/**
 * How fast is a prompt of 256 tokens read, against native llama.cpp on one core?
 *
 *   node --import ./bench/register.mjs bench/prefill.ts [--types Q8_0,Q4_0] [--quick] [--json]
 *
 * A call ends when the first token is known. Where llama.cpp uses the CPU's matrix units (AMX), which Wasm cannot reach,
 * it runs a second time on the vector units.
 */
import { parseArgs } from "node:util";
import { type Candidate, measure, speedOver } from "./harness.ts";
import { llama135m, loadBuilds, promptTokens, SHAPE, Truth, type WeightType } from "./llama-135m.ts";
import { Peer } from "./peer.ts";
import { type Missing, print } from "./report.ts";

const TOKENS = 256;
const WITHOUT_AMX = "llama.cpp without AMX";

const { values: options } = parseArgs({
  options: {
    types: { type: "string", default: "Q8_0,Q4_0" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

for (const type of options.types.split(",") as WeightType[]) await comparePrefill(type);

async function comparePrefill(type: WeightType): Promise<void> {
  const path = await llama135m(type);
  const tokens = promptTokens(TOKENS);
  const missing: Missing[] = [];
  await using llama = await Peer.startIfInstalled("llama-cpp", [path], missing);
  const usesAmx = /AMX_INT8 = 1/.test(String(llama?.about.system));
  await using plain = usesAmx ? await Peer.start("llama-cpp", [path, "--cpu", "icelake"]) : null;
  const models = await loadBuilds(path, missing);
  const truth = await Truth.of(path, type);

  const candidates = models.map((model): Candidate => {
    const session = model.open({ capacity: TOKENS });
    return {
      name: `edgewise ${model.build}`,
      tokens: TOKENS,
      check: () => truth.check(model),
      async run() {
        session.truncate(0);
        (await session.forward(tokens, 1)).argmax(0);
        return undefined;
      },
    };
  });
  for (const [name, peer] of [["llama.cpp", llama] as const, [WITHOUT_AMX, plain] as const]) {
    if (peer === null) continue;
    candidates.push({
      name,
      tokens: TOKENS,
      check: () => truth.checkPeer(peer),
      run: () => peer.request("prefill", { tokens }),
    });
  }
  const report = await measure(`prefill of ${TOKENS} tokens, ${type}, 1 thread`, candidates, {
    shape: SHAPE,
    comparisons: candidates.slice(models.length).map(({ name }) => speedOver(name)),
    missing,
    warmupMilliseconds: options.quick ? 100 : 500,
  });
  print({ ...report, peers: [llama?.facts() ?? [], plain?.facts(WITHOUT_AMX) ?? []].flat() }, options.json);
  for (const model of models) model.close();
}
