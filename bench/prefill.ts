/**
 * How fast is a prompt of 256 tokens read, against native llama.cpp on one core?
 *
 *   node --import ./bench/register.mjs bench/prefill.ts [--types Q8_0,Q4_0] [--json]
 */
import { parseArgs } from "node:util";
import { loadModel } from "../src/node.ts";
import { measure, print } from "./harness.ts";
import { checkRows, llama135m, promptTokens, SHAPE, type WeightType } from "./llama-135m.ts";
import { Peer } from "./peer.ts";

const TOKENS = 256;

const { values } = parseArgs({
  options: { types: { type: "string", default: "Q8_0,Q4_0" }, json: { type: "boolean", default: false } },
});

for (const type of values.types.split(",") as WeightType[]) await comparePrefill(type);

async function comparePrefill(type: WeightType): Promise<void> {
  const path = await llama135m(type);
  const tokens = promptTokens(TOKENS);
  await using llama = await Peer.start("llama-cpp", [path]);
  const model = await loadModel(path);
  const session = model.open({ capacity: TOKENS });
  const report = await measure(
    `prefill of ${TOKENS} tokens, ${type}, 1 thread`,
    [
      {
        name: `llama.cpp ${llama.about.version}`,
        tokens: TOKENS,
        run: () => llama.request("prefill", { tokens }),
      },
      {
        name: `edgewise ${model.build}`,
        tokens: TOKENS,
        check: () => checkRows(model, llama, tokens.slice(0, 16)),
        async run() {
          session.truncate(0);
          (await session.forward(tokens)).argmax(0);
          return undefined;
        },
      },
    ],
    { shape: SHAPE },
  );
  print(report, values.json);
  session.close();
  model.close();
}
