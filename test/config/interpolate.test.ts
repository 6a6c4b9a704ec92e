import { describe, expect, test } from "bun:test";
import { interpolate } from "../../src/config/interpolate.ts";

const ENV = { HOST: "pyos", EMPTY: "", TRICK: "${HOST}" };

describe("interpolation", () => {
  test.each([
    ["${HOST}", "pyos"],
    ["http://${HOST}:${PORT:-8000}", "http://pyos:8000"],
    ["${HOST:-other}", "pyos"],
    ["${UNSET:-other}", "other"],
    ["${EMPTY:-other}", "other"],
    ["${EMPTY}", ""],
    ["${UNSET:-}", ""],
    ["${UNSET:-${ALSO_UNSET:-${HOST}}}", "pyos"],
    ["${UNSET:-:80}", ":80"],
    ["$${HOST}", "${HOST}"],
    ["$HOST costs $5", "$HOST costs $5"],
    ["${TRICK}", "${HOST}"],
    ["{${HOST}}", "{pyos}"],
  ])("reads %s as %j", (text, expected) => {
    expect(interpolate(text, ENV)).toMatchObject({ text: expected, problems: [] });
  });

  test.each([
    ["http://${HOST}:${PORT:-8000}", ["HOST"]], ["${HOST}${HOST}", ["HOST"]], ["${EMPTY}", ["EMPTY"]], ["${EMPTY:-${HOST}}", ["HOST"]],
    ["${HOST:-${TRICK}}", ["HOST"]], ["${TRICK}", ["TRICK"]], ["${UNSET:-x}", []], ["$${HOST}", []],
  ])("names the variables whose values stand in %s: %j", (text, used) => {
    expect(interpolate(text, ENV).used).toEqual(used);
  });

  test("names every variable that is not set, and leaves it as written", () => {
    expect(interpolate("${A}/${HOST}/${B:-${C}}", ENV)).toEqual({
      text: "${A}/pyos/${C}", problems: [{ kind: "unset", name: "A" }, { kind: "unset", name: "C" }], used: ["HOST"],
    });
  });

  test("doesn't mind an unset variable in a default that is not needed", () => {
    expect(interpolate("${HOST:-${NOPE}}", ENV)).toEqual({ text: "pyos", problems: [], used: ["HOST"] });
  });

  test.each(["${HOST", "${", "${}", "${1A}", "${HOST-x}", "${HOST:-x", "${HO ST}"])("refuses %s", (text) => {
    const [problem] = interpolate(text, ENV).problems;
    expect(problem).toMatchObject({ kind: "syntax", message: expect.stringContaining(`"${text}"`) });
  });
});
