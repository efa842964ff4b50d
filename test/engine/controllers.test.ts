import { describe, expect, it } from "vitest";
import { lendController } from "../../src/engine/controllers.ts";
import type { Model } from "../../src/engine/model.ts";

/** Models are only compared. */
const aModel = () => ({}) as Model;

describe("controllers", () => {
  const kind = { name: "suffix", verifier: "match" };

  it("go from one request to the next that drafts alike on the same model", () => {
    const [target, draft] = [aModel(), aModel()];
    const lent = lendController(target, kind, { shape: "chain" });
    lent.close();
    const others = [
      lendController(aModel(), kind, { shape: "chain" }),
      lendController(target, { ...kind, name: "ngram" }, { shape: "chain" }),
      lendController(target, { ...kind, verifier: "token" }, { shape: "chain" }),
      lendController(target, { ...kind, draft }, { shape: "chain" }),
      lendController(target, kind, { shape: "tree" }),
      lendController(target, kind, { shape: "chain", cap: 4 }),
    ];
    for (const { controller } of others) expect(controller).not.toBe(lent.controller);
    expect(lendController(target, kind, { shape: "chain" }).controller).toBe(lent.controller);
  });

  it("are of one request at a time, and given back once", () => {
    const target = aModel();
    const first = lendController(target, kind, {});
    const second = lendController(target, kind, {});
    expect(second.controller).not.toBe(first.controller);
    first.close();
    first.close();
    expect(lendController(target, kind, {}).controller).toBe(first.controller);
    expect(lendController(target, kind, {}).controller).not.toBe(first.controller);
  });

  it("begin each request with an empty account and what was learned", () => {
    const target = aModel();
    const plain = { verified: 0, accepted: 0, emitted: 1, targetCost: 1, draftCost: 0 };
    const { controller, close } = lendController(target, kind, {});
    for (let step = 0; step < 3; step++) controller.record(plain);
    expect(controller.ask()).toBe(1);
    close();
    // It need not learn again what a plain step costs.
    expect(lendController(target, kind, {}).controller.ask()).toBe(1);
    expect(lendController(target, kind, {}).controller.ask()).toBe(0);
  });

  it("are kept in bounds", () => {
    const target = aModel();
    const many = Array.from({ length: 6 }, () => lendController(target, kind, {}));
    for (const { close } of many) close();
    const again = Array.from({ length: 6 }, () => lendController(target, kind, {}).controller);
    const kept = many.filter(({ controller }) => again.includes(controller));
    expect(kept).toHaveLength(4);

    const first = lendController(target, { ...kind, name: "first" }, {});
    first.close();
    for (let i = 0; i < 40; i++) lendController(target, { ...kind, name: `other ${i}` }, {}).close();
    expect(lendController(target, { ...kind, name: "first" }, {}).controller).not.toBe(first.controller);
  });
});
