// One metric family as Prometheus text, by prom-client. Thousands of samples are written in slices with turns of the event
// loop between them: a scrape of 10,000 services takes 100 ms and more, and no request is to wait for that long.

import { Counter, Gauge, Registry } from "prom-client";

/** About 1 ms each. */
const SLICE = 500;

export type Sample = { readonly labels: Readonly<Record<string, string>>; readonly value: number };

export type Family = {
  readonly kind: "counter" | "gauge";
  readonly name: string;
  readonly help: string;
  /** No two with the same labels, which are shown in the order in which they stand in their object. */
  readonly samples: readonly Sample[];
};

export const METRICS_CONTENT_TYPE: string = Registry.PROMETHEUS_CONTENT_TYPE;

/** The families with an empty line between them. */
export async function familiesText(families: readonly Family[]): Promise<string> {
  const texts: string[] = [];
  for (const family of families) texts.push(await familyText(family));
  return `${texts.join("\n\n")}\n`;
}

async function familyText(family: Family): Promise<string> {
  let text = await sliceText(family, family.samples.slice(0, SLICE));
  for (let start = SLICE; start < family.samples.length; start += SLICE) {
    await new Promise<void>((resolve) => { setImmediate(resolve); });
    text += `\n${withoutHead(await sliceText(family, family.samples.slice(start, start + SLICE)))}`;
  }
  return text;
}

async function sliceText({ kind, name, help, samples: all }: Family, samples: readonly Sample[]): Promise<string> {
  const registry = new Registry();
  // A metric without labels begins as a sample of 0: where there is nothing to be counted there is none.
  const labelNames = Object.keys(all[0]?.labels ?? { nothing: "" });
  const config = { name, help, labelNames, registers: [registry] };
  const metric = kind === "counter" ? new Counter(config) : new Gauge(config);
  for (const { labels, value } of samples) metric.inc(labels, value);
  return await registry.getSingleMetricAsString(name);
}

/** Without the lines `# HELP` and `# TYPE`. */
function withoutHead(text: string): string {
  return text.slice(text.indexOf("\n", text.indexOf("\n") + 1) + 1);
}
