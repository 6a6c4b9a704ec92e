import { describe, expect, test } from "bun:test";
import { viewerFile } from "../../src/viewer/files.ts";

describe("the viewer's files", () => {
  const script = viewerFile("client.js")!.text;

  test("name noVNC's version, licence and source as its package does, and keep its parts' own licences", async () => {
    const { version } = await Bun.file(new URL("../../node_modules/@novnc/novnc/package.json", import.meta.url)).json() as { version: string };
    expect(script).toStartWith(`/*\nnoVNC ${version}, Mozilla Public License 2.0 (https://www.mozilla.org/MPL/2.0/)\nSource: https://github.com/novnc/noVNC/tree/v${version}\n*/`);
    for (const author of ["AT&T Laboratories Cambridge", "Widget Workshop", "Jef Poskanzer", "Vitaly Puzrin"]) expect(script).toContain(author);
    expect(() => new Bun.Transpiler({ loader: "js" }).scan(script)).not.toThrow();
  });

  test("have nothing that their own policy forbids: no inline script, style or handler, nothing from elsewhere", () => {
    const page = viewerFile("")!.text;
    expect(page).not.toMatch(/<style|\sstyle=|<script(?![^>]*\ssrc=)|\son[a-z]+=|(?:src|href)="(?:https?:)?\/\//i);
    expect(viewerFile("style.css")!.text).not.toMatch(/@import|url\(/);
  });

  test("every control of the page has a name", () => {
    const page = viewerFile("")!.text;
    const buttons = [...page.matchAll(/<button([^>]*)>([^]*?)<\/button>/g)];
    expect(buttons.length).toBeGreaterThan(8);
    for (const [, attributes = "", content = ""] of buttons) expect(`${attributes}${content.replace(/<svg[^]*?<\/svg>/g, "")}`).toMatch(/aria-label="|>?\w+/);
    for (const [, id] of page.matchAll(/<textarea id="([^"]+)"/g)) expect(page).toContain(`<label for="${id}">`);
  });
});
