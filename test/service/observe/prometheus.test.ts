import { describe, expect, it } from "vitest";
import { Counter, Gauge, Histogram } from "../../../src/service/observe/prometheus.ts";

describe("the text format", () => {
  it("of a counter", () => {
    const counter = new Counter({ name: "x_total", help: "Of x" });
    counter.add(1, { route: "/a", status: "200" });
    counter.add(2, { route: "/a", status: "200" });
    counter.add(1, { route: '\\"\n', status: "" });
    expect(counter.text()).toBe(
      '# HELP x_total Of x\n# TYPE x_total counter\nx_total{route="/a",status="200"} 3\n' +
        'x_total{route="\\\\\\"\\n",status=""} 1\n',
    );
  });

  it("of a gauge is what it is when it is asked for", () => {
    let value = 1;
    const gauge = new Gauge({ name: "g", help: "G" }, () => [[{}, value]]);
    expect(gauge.text()).toBe("# HELP g G\n# TYPE g gauge\ng 1\n");
    value = 2.5;
    expect(gauge.text()).toContain("\ng 2.5\n");
  });

  it("of a histogram counts up, and a bound belongs to what is below it", () => {
    const histogram = new Histogram({ name: "h", help: "H" }, [1, 2]);
    for (const value of [0.5, 1, 1.5, 9]) histogram.observe(value, { m: "a" });
    expect(histogram.text().split("\n").slice(2)).toEqual([
      'h_bucket{m="a",le="1"} 2',
      'h_bucket{m="a",le="2"} 3',
      'h_bucket{m="a",le="+Inf"} 4',
      'h_sum{m="a"} 12',
      'h_count{m="a"} 4',
      "",
    ]);
  });
});
