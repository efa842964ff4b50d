/**
 * scan: how much of a drafted chain survives, and the token that follows, for the rules of verify/token.ts and block.ts.
 *
 *     scanWeights   pᵢ of each drafted token, and the weights w₀ = 1, wᵢ = min(1, wᵢ₋₁ · pᵢ / qᵢ)
 *     scanMass      mᵢ = Σ (wᵢ·p − q)+ of each row, by groups; for "block" alone
 *     scanDecide    how many are kept, and of which row the token is drawn:  p,  p without a token,  or (w·p − q)+
 *     scanSums      sums of that row over chunks of the vocabulary, one per group, and of p
 *     scanPick      the token at u in the cumulative sum, in order of id: chunk, part of a chunk, token
 *
 * p(x) = exp((logit − largest) / T) / Σ, of what drawChange, drawLargest, drawRace and drawJoin, or drawCut left; table as there, one row
 * more than there are tokens. Where nothing is left of the law of a correction it is p, as in round.ts.
 *
 * Accuracy  sums of f32 in trees: within 1e-6 of the mass. A coin or u is rounded towards 0 to 24 bits.
 */
import type { Kernel } from "../kernel.ts";
import { MAIN, NONE, THREADS, taskKernel } from "./task.ts";

/** Words of the result before those of the tokens: how many are kept, the token, bits of its p, rows without a law. */
export const SCAN_HEAD_WORDS = 4;

/** Words of a scan of so many tokens: result, weights, what is drawn from (row, kind, scale), and sums of groups. */
export function scanWords(tokens: number, groups: number): number {
  return SCAN_HEAD_WORDS + tokens + (tokens + 1) + 3 + (tokens + 2) * groups;
}

const PLACES = /* wgsl */ `
const P = 0u;
const WITHOUT = 1u;
const RESIDUAL = 2u;
fn weights_at() -> u32 { return p.scan + ${SCAN_HEAD_WORDS}u + p.tokens; }
fn source_at() -> u32 { return weights_at() + p.tokens + 1u; }
fn sums_at() -> u32 { return source_at() + 3u; }
fn float_at(i: u32) -> f32 { return bitcast<f32>(floats[i]); }

/** What all tokens of a row need. */
struct Law {
  x: u32, mask: u32, largest: f32, inverse: f32, total: f32, q: u32, q_scale: f32, token: u32,
  // The last of the tokens that cuts leave: its order and id.
  least: u32, last: u32,
}
fn law_of(row: u32) -> Law {
  let result = task(row, RESULT);
  return Law(task(row, X), task(row, MASK), float_at(result + 1u), bitcast<f32>(task(row, INVERSE)), float_at(result + 2u),
    task(row, Q), bitcast<f32>(task(row, Q_SCALE)), task(row, TOKEN), floats[result + 3u], floats[result + 4u]);
}
fn p_of(law: Law, id: u32) -> f32 {
  let order = order_at(law.x, law.mask, id);
  if (order == 0u || order < law.least || (order == law.least && id > law.last)) { return 0.0; }
  return weight_of(order, law.largest, law.inverse) / law.total;
}
fn left_of(law: Law, kind: u32, scale: f32, id: u32) -> f32 {
  let own = p_of(law, id);
  if (kind == RESIDUAL) { return max(0.0, scale * own - float_at(law.q + id) * law.q_scale); }
  return select(own, 0.0, kind == WITHOUT && id == law.token);
}`;

const scanKernel = (name: string, code: string): Kernel =>
  taskKernel(name, `${PLACES}${code}`, ["scan", "tokens", "isBlock", "u:f32"]);

export const scanKernels: Readonly<Record<string, Kernel>> = {
  /** One group: a thread for each token. */
  scanWeights: scanKernel(
    "scanWeights",
    /* wgsl */ `
var<workgroup> odd: atomic<u32>;
${MAIN} {
  if (thread == 0u) { atomicStore(&odd, 0u); }
  workgroupBarrier();
  for (var i = thread; i <= p.tokens; i += ${THREADS}u) {
    // No logit, or an infinite one: bits of an infinity.
    if ((floats[task(i, RESULT) + 1u] & 0x7f800000u) == 0x7f800000u) { atomicAdd(&odd, 1u); }
    if (i < p.tokens) {
      floats[p.scan + ${SCAN_HEAD_WORDS}u + i] = bitcast<u32>(p_of(law_of(i), task(i, TOKEN)));
    }
  }
  storageBarrier();
  workgroupBarrier();
  if (thread > 0u) { return; }
  floats[p.scan + 3u] = atomicLoad(&odd);
  var weight = 1.0;
  floats[weights_at()] = bitcast<u32>(weight);
  for (var i = 0u; i < p.tokens; i++) {
    let reached = weight * float_at(p.scan + ${SCAN_HEAD_WORDS}u + i);
    let q = bitcast<f32>(task(i, Q_TOKEN));
    if (reached >= q) { weight = 1.0; } else { weight = reached / q; }
    floats[weights_at() + i + 1u] = bitcast<u32>(weight);
  }
}`,
  ),
  /** Group y: row. */
  scanMass: scanKernel(
    "scanMass",
    /* wgsl */ `
${MAIN} {
  let law = law_of(group.y);
  let scale = float_at(weights_at() + group.y);
  var sum = 0.0;
  for (var id = group.x * ${THREADS}u + thread; id < p.count; id += p.groups * ${THREADS}u) {
    sum += left_of(law, RESIDUAL, scale, id);
  }
  sums[thread] = sum;
  let mass = join_sum(thread);
  if (thread == 0u) { floats[sums_at() + group.y * p.groups + group.x] = bitcast<u32>(mass); }
}`,
  ),
  /** One group, of which one thread works: there are a few tokens. */
  scanDecide: scanKernel(
    "scanDecide",
    /* wgsl */ `
fn mass_of(row: u32) -> f32 {
  var mass = 0.0;
  for (var i = 0u; i < p.groups; i++) { mass += float_at(sums_at() + row * p.groups + i); }
  return mass;
}
${MAIN} {
  if (thread > 0u) { return; }
  var kept = 0u;
  var kind = P;
  var scale = 1.0;
  for (var i = 0u; i < p.tokens; i++) {
    let coin = bitcast<f32>(task(i, COIN));
    let own = float_at(p.scan + ${SCAN_HEAD_WORDS}u + i);
    let q = bitcast<f32>(task(i, Q_TOKEN));
    if (p.isBlock == 1u) {
      let weight = float_at(weights_at() + i + 1u);
      var keep = weight;
      if (i + 1u < p.tokens) {
        let mass = mass_of(i + 1u);
        let total = mass + (1.0 - weight);
        keep = 1.0;
        if (total > 0.0) { keep = mass / total; }
      }
      if (coin < keep) { kept = i + 1u; }
      continue;
    }
    if (q > 0.0 && coin * q < own) { kept = i + 1u; continue; }
    if (q > 0.0) { kind = select(RESIDUAL, WITHOUT, task(i, Q) == ${NONE}u); }
    break;
  }
  if (p.isBlock == 1u && kept < p.tokens) {
    kind = RESIDUAL;
    scale = float_at(weights_at() + kept);
  }
  floats[p.scan] = kept;
  floats[source_at()] = kept;
  floats[source_at() + 1u] = kind;
  floats[source_at() + 2u] = bitcast<u32>(scale);
}`,
  ),
  /** A chunk per group: the sum of what is left there, and that of p. */
  scanSums: scanKernel(
    "scanSums",
    /* wgsl */ `
${MAIN} {
  let law = law_of(floats[source_at()]);
  let kind = floats[source_at() + 1u];
  let scale = float_at(source_at() + 2u);
  let chunk = (p.count + p.groups - 1u) / p.groups;
  let end = min((group.x + 1u) * chunk, p.count);
  var left = 0.0;
  var all = 0.0;
  for (var id = group.x * chunk + thread; id < end; id += ${THREADS}u) {
    left += left_of(law, kind, scale, id);
    all += p_of(law, id);
  }
  sums[thread] = left;
  let mass = join_sum(thread);
  workgroupBarrier();
  sums[thread] = all;
  let whole = join_sum(thread);
  if (thread == 0u) {
    floats[sums_at() + group.x] = bitcast<u32>(mass);
    floats[sums_at() + p.groups + group.x] = bitcast<u32>(whole);
  }
}`,
  ),
  scanPick: scanKernel(
    "scanPick",
    /* wgsl */ `
var<workgroup> chosen: u32;
var<workgroup> goal: f32;
var<workgroup> parts: array<f32, ${THREADS}>;
var<workgroup> is_left: u32;
${MAIN} {
  if (thread == 0u) {
    var mass = 0.0;
    var whole = 0.0;
    for (var i = 0u; i < p.groups; i++) {
      mass += float_at(sums_at() + i);
      whole += float_at(sums_at() + p.groups + i);
    }
    is_left = select(0u, 1u, mass > 0.0);
    let base = sums_at() + select(p.groups, 0u, mass > 0.0);
    let aim = p.u * select(whole, mass, mass > 0.0);
    var before = 0.0;
    chosen = 0u;
    goal = aim;
    for (var i = 0u; i < p.groups; i++) {
      let sum = float_at(base + i);
      // The last with mass, should rounding leave u beyond the end.
      if (sum > 0.0) {
        chosen = i;
        goal = aim - before;
      }
      before += sum;
      if (before > aim) { break; }
    }
  }
  workgroupBarrier();
  let row = floats[source_at()];
  let law = law_of(row);
  let kind = select(P, floats[source_at() + 1u], is_left == 1u);
  let scale = float_at(source_at() + 2u);
  let chunk = (p.count + p.groups - 1u) / p.groups;
  let begin = chosen * chunk;
  let end = min(begin + chunk, p.count);
  let part = (chunk + ${THREADS - 1}u) / ${THREADS}u;
  var sum = 0.0;
  for (var id = begin + thread * part; id < min(begin + (thread + 1u) * part, end); id++) { sum += left_of(law, kind, scale, id); }
  parts[thread] = sum;
  workgroupBarrier();
  if (thread > 0u) { return; }
  var before = 0.0;
  var at = 0u;
  var start = 0.0;
  for (var i = 0u; i < ${THREADS}u; i++) {
    if (parts[i] > 0.0) {
      at = i;
      start = before;
    }
    before += parts[i];
    if (before > goal) { break; }
  }
  var token = begin;
  for (var id = begin + at * part; id < min(begin + (at + 1u) * part, end); id++) {
    let value = left_of(law, kind, scale, id);
    if (!(value > 0.0)) { continue; }
    token = id;
    start += value;
    if (start > goal) { break; }
  }
  floats[p.scan + 1u] = token;
  floats[p.scan + 2u] = bitcast<u32>(p_of(law, token));
}`,
  ),
};
