import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Slots } from "../../src/service/slots.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("slots", () => {
  it("go out in order of arrival, and a newcomer does not overtake", async () => {
    const slots = new Slots(1, 5, 1000);
    const first = await slots.acquire();
    const order: string[] = [];
    const take = async (name: string) => {
      const slot = await slots.acquire();
      order.push(name);
      slot.release();
    };
    const all = [take("a"), take("b"), take("c")];
    await pass(10);
    expect([slots.running, slots.waiting, order]).toEqual([1, 3, []]);
    first.release();
    all.push(take("d"));
    await pass(50);
    await Promise.all(all);
    expect(order).toEqual(["a", "b", "c", "d"]);
    expect([slots.running, slots.waiting]).toEqual([0, 0]);
  });

  it("are given back once", async () => {
    const slots = new Slots(2, 0, 1000);
    const [a] = [await slots.acquire(), await slots.acquire()];
    a.release();
    a.release();
    expect(slots.running).toBe(1);
  });

  it("go to the next when their request shows no life, and not while it does", async () => {
    const slots = new Slots(1, 5, 1000);
    const first = await slots.acquire();
    let second = false;
    const waiting = slots.acquire().then((slot) => {
      second = true;
      return slot;
    });
    for (let i = 0; i < 5; i++) {
      await pass(900);
      first.touch();
    }
    expect(second).toBe(false);
    await pass(1100);
    expect(second).toBe(true);
    // The request was only slow: that it gives its slot back late takes nobody else's.
    first.release();
    expect(slots.running).toBe(1);
    (await waiting).release();
    expect(slots.running).toBe(0);
  });

  it("wait for memory in order until others gave some back, and let nobody new in meanwhile", async () => {
    const slots = new Slots(4, 5, 60_000);
    const [holder, a, b] = [await slots.acquire(), await slots.acquire(), await slots.acquire()];
    const order: string[] = [];
    const wait = async (name: string, slot: typeof a) => order.push(`${name} ${await slot.waitForMemory()}`);
    const first = wait("a", a);
    const second = wait("b", b);
    const newcomer = slots.acquire().then(() => order.push("newcomer"));
    await pass(500);
    expect([order, slots.running, slots.waiting]).toEqual([[], 3, 1]);
    holder.release();
    await Promise.all([first, second, newcomer, pass(20)]);
    expect(order).toEqual(["a true", "b true", "newcomer"]);
  });

  it("do not wait for memory that nobody holds, nor for ever", async () => {
    const slots = new Slots(4, 5, 60_000);
    const a = await slots.acquire();
    expect(await a.waitForMemory()).toBe(true);
    // It had all there is, and it was too little.
    expect(await a.waitForMemory()).toBe(false);
    const b = await slots.acquire();
    const answer = b.waitForMemory();
    await pass(9000);
    a.touch();
    await pass(2000);
    expect(await answer).toBe(false);
    const gone = new AbortController();
    const left = expect(b.waitForMemory(gone.signal)).rejects.toThrow(/abort/);
    gone.abort();
    await Promise.all([left, pass(5)]);
  });

  it("are not waited for by a request that is gone", async () => {
    const slots = new Slots(1, 5, 1000);
    await slots.acquire();
    const gone = new AbortController();
    const waiting = slots.acquire(gone.signal);
    gone.abort();
    await Promise.all([expect(waiting).rejects.toThrow(/abort/), pass(10)]);
    expect(slots.waiting).toBe(0);
  });
});
