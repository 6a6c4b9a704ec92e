import { describe, expect, test } from "bun:test";
import { Challenges } from "../../src/dns/challenges.ts";

describe("challenges", () => {
  test("a value presented twice is there until both were cleaned up", () => {
    const challenges = new Challenges(() => 0);
    challenges.present("same");
    challenges.present("same");
    challenges.present("other");
    expect(challenges.values).toEqual(["same", "other"]);
    challenges.cleanup("same");
    expect(challenges.values).toEqual(["same", "other"]);
    challenges.cleanup("same");
    expect(challenges.values).toEqual(["other"]);
  });

  test("cleaning up what is not there changes nothing, and is not owed later", () => {
    const challenges = new Challenges(() => 0);
    const { serial } = challenges;
    challenges.cleanup("value");
    expect(challenges.serial).toBe(serial);
    challenges.present("value");
    expect(challenges.values).toEqual(["value"]);
  });

  test("the serial number grows with every change, follows the clock, and never goes back", () => {
    let ms = 1_700_000_000_000;
    const challenges = new Challenges(() => ms);
    expect(challenges.serial).toBe(1_700_000_000);
    challenges.present("a");
    challenges.present("a");
    expect(challenges.serial).toBe(1_700_000_001);
    challenges.cleanup("a");
    expect(challenges.serial).toBe(1_700_000_001);
    ms += 60_000;
    challenges.cleanup("a");
    expect(challenges.serial).toBe(1_700_000_060);
    ms -= 3_600_000;
    challenges.present("a");
    expect(challenges.serial).toBe(1_700_000_061);
  });

  test("the list that somebody holds does not change under them", () => {
    const challenges = new Challenges(() => 0);
    challenges.present("a");
    const before = challenges.values;
    challenges.present("b");
    expect(before).toEqual(["a"]);
  });

  test.each(["", "a b", "a\nb", "é", "\0", "x".repeat(256)])("%p cannot be a TXT string", (value) => {
    expect(() => new Challenges(() => 0).present(value)).toThrow("cannot present a challenge: not 1 to 255 visible ASCII characters");
  });

  test("255 characters can; the hundred-and-first value cannot, but one that is there can", () => {
    const challenges = new Challenges(() => 0);
    for (let i = 0; i < 100; i += 1) challenges.present(`${i}-`.padEnd(255, "x"));
    expect(() => challenges.present("one-more")).toThrow("cannot present a challenge: 100 others are running");
    challenges.present("7-".padEnd(255, "x"));
    expect(challenges.values).toHaveLength(100);
    challenges.cleanup("8-".padEnd(255, "x"));
    challenges.present("one-more");
  });
});
