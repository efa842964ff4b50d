/** Errors by the calls that made them, whenever they arrive. A device is not needed. */
import { describe, expect, it } from "vitest";
import type { GpuDevice } from "../../src/backend/webgpu/device.ts";
import { Faults } from "../../src/backend/webgpu/faults.ts";
import { UnsupportedError } from "../../src/errors.ts";

class GPUOutOfMemoryError {
  message = "no memory is left \n - while creating a buffer";
}

/** A device whose errors arrive when a test says so. */
function fakeDevice() {
  const open: string[] = [];
  const scopes: { kind: string; end(error: unknown): void; fail(): void }[] = [];
  const device = {
    pushErrorScope: (kind: string) => void open.push(kind),
    popErrorScope: () =>
      new Promise((end, fail) =>
        scopes.push({ kind: open.pop()!, end, fail: () => fail(new Error("lost")) }),
      ),
  };
  const gpu = { device, failure: null as string | null };
  const faults = new Faults(gpu as unknown as GpuDevice);
  /** Ends scopes of one call, the first of them with an error. */
  const end = (call: number, error: unknown = null) => {
    for (const [i, scope] of scopes.slice(3 * call, 3 * call + 3).entries())
      scope.end(i === 0 ? error : null);
  };
  return { open, scopes, gpu, faults, end };
}

const isDone = async (promise: Promise<void>) => {
  let done = false;
  promise.then(() => {
    done = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 0));
  return done;
};

describe("Faults", () => {
  it("watches for everything around a call, and ends it when the call throws", () => {
    const { faults, open, scopes } = fakeDevice();
    const seen = faults.within(() => [...open]);
    expect(seen.sort()).toEqual(["internal", "out-of-memory", "validation"]);
    expect(() =>
      faults.within(() => {
        throw new TypeError("no");
      }),
    ).toThrow("no");
    expect([open.length, scopes.length]).toEqual([0, 6]);
  });

  it("tells what went wrong first, in whatever order that becomes known, on one line", async () => {
    const { faults, end } = fakeDevice();
    faults.taking(() => {});
    faults.within(() => {});
    end(1, { message: "the buffer is invalid" });
    await isDone(Promise.resolve());
    expect(faults.failure).toBe("the buffer is invalid");
    end(0, new GPUOutOfMemoryError());
    await faults.settled();
    expect(faults.failure).toBe("out of memory (no memory is left)");
    expect(() => faults.expectWell()).toThrow(UnsupportedError);
  });

  it("waits for all calls, or for those alone that take memory", async () => {
    const { faults, end } = fakeDevice();
    expect(await isDone(faults.memorySettled())).toBe(true);
    faults.within(() => {});
    expect([await isDone(faults.settled()), await isDone(faults.memorySettled())]).toEqual([false, true]);
    faults.taking(() => {});
    end(0);
    expect([await isDone(faults.settled()), await isDone(faults.memorySettled())]).toEqual([false, false]);
    end(1);
    expect([await isDone(faults.settled()), await isDone(faults.memorySettled())]).toEqual([true, true]);
    expect(faults.failure).toBeNull();
  });

  it("leaves a lost device to the device", async () => {
    const { faults, scopes, gpu } = fakeDevice();
    faults.within(() => {});
    for (const scope of scopes) scope.fail();
    await faults.settled();
    expect(faults.failure).toBeNull();
    gpu.failure = "device lost";
    expect(faults.failure).toBe("device lost");
  });
});
