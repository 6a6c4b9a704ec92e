// Media types by file name, as IANA registers them. Text says that it is UTF-8: what else would somebody deploy.

const TEXT = "; charset=utf-8";

/** By extension; `true`: text or the like, which may lie there compressed as well. */
const TYPES: ReadonlyMap<string, readonly [type: string, isCompressible: boolean]> = new Map([
  ...group(TEXT, true, {
    html: "text/html", htm: "text/html", css: "text/css", js: "text/javascript", mjs: "text/javascript", cjs: "text/javascript", txt: "text/plain", text: "text/plain",
    log: "text/plain", conf: "text/plain", md: "text/markdown", csv: "text/csv", tsv: "text/tab-separated-values", vtt: "text/vtt", ics: "text/calendar", yaml: "application/yaml",
    yml: "application/yaml", json: "application/json", map: "application/json", webmanifest: "application/manifest+json", geojson: "application/geo+json",
    jsonld: "application/ld+json", xml: "text/xml", xhtml: "application/xhtml+xml", rss: "application/rss+xml", atom: "application/atom+xml", svg: "image/svg+xml",
  }),
  ...group("", true, { wasm: "application/wasm", ttf: "font/ttf", otf: "font/otf", eot: "application/vnd.ms-fontobject", ico: "image/x-icon", bmp: "image/bmp" }),
  ...group("", false, {
    png: "image/png", apng: "image/apng", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", avif: "image/avif", jxl: "image/jxl", tif: "image/tiff",
    tiff: "image/tiff", woff: "font/woff", woff2: "font/woff2", mp3: "audio/mpeg", m4a: "audio/mp4", ogg: "audio/ogg", opus: "audio/ogg", wav: "audio/wav", flac: "audio/flac",
    mp4: "video/mp4", m4v: "video/mp4", webm: "video/webm", mov: "video/quicktime", pdf: "application/pdf", zip: "application/zip", gz: "application/gzip",
    zst: "application/zstd", "7z": "application/x-7z-compressed", tar: "application/x-tar",
  }),
]);

export type ContentType = { readonly value: string; readonly isCompressible: boolean };

/** @param name of a file, without its directory */
export function contentType(name: string): ContentType {
  const extension = /\.([a-z0-9]+)$/i.exec(name)?.[1];
  // Challenge files have no extension: they are text, and nothing may be guessed out of them.
  if (extension === undefined) return { value: "text/plain; charset=utf-8", isCompressible: false };
  const [value, isCompressible] = TYPES.get(extension.toLowerCase()) ?? ["application/octet-stream", false];
  return { value, isCompressible };
}

function group(suffix: string, isCompressible: boolean, types: Readonly<Record<string, string>>): [string, [string, boolean]][] {
  return Object.entries(types).map(([extension, type]) => [extension, [type + suffix, isCompressible]]);
}
