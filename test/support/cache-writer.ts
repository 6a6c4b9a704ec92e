// A process that does nothing but store answers on disk, until it is killed: `bun test/support/cache-writer.ts <directory> <limit in bytes>`.
// Every body is made from its URL, so that whoever finds one knows what it must be. Prints a line when the first ones are there.

import { CacheRig } from "./cache-origin.ts";

/** What stands at a URL such as `/7?v=12`: its length varies, too. */
export function bodyOf(target: string): Buffer {
  const seed = Bun.hash.crc32(target);
  return Buffer.alloc(1 + (seed % 60_000), `${target} ${seed} `);
}

if (import.meta.main) {
  const [, , directory = "", bytes = ""] = process.argv;
  const rig = new CacheRig({ disk: { directory, bytes: Number(bytes) } });
  await rig.cache.open();
  for (let version = 0; ; version += 1) {
    const target = `/${version % 40}?v=${Math.floor(version / 80)}`;
    rig.next = { headers: { "cache-control": "max-age=100000", vary: version % 3 === 0 ? "x" : undefined }, body: bodyOf(target) };
    // Again and again, so that files are replaced as well.
    rig.cache.purge(version % 5 === 0 ? { url: `https://a.example${target}` } : { url: "https://a.example/none" });
    await rig.get(target, { "cache-control": "no-cache", x: "1" });
    await Bun.sleep(version % 4 === 0 ? 1 : 0);
    if (version === 20) console.log("writing");
  }
}
