// A list as APIs answer with: records of a desktop's applications, with ids and times that repeat nowhere and names that do. Always
// the same text for the same size.

const NAMES = ["calculator", "firefox", "gimp", "libreoffice-writer", "libreoffice-calc", "okular", "qterminal", "thunderbird", "vlc", "xfce-notes"];
const STATES = ["running", "stopped", "starting", "failed"];
const OWNERS = ["alice.martin", "bob.nguyen", "carol.silva", "dmitri.ivanov", "erin.okafor", "farid.haddad"];

/** A JSON array of about so many bytes; a record has about 330. */
export function recordsJson(bytes: number): string {
  const random = numbers(42);
  const records: object[] = [];
  for (let length = 2; length < bytes;) {
    const record = recordOf(random, records.length);
    records.push(record);
    length += JSON.stringify(record).length + 1;
  }
  return JSON.stringify(records);
}

function recordOf(random: () => number, index: number): object {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const hex = (digits: number): string => Array.from({ length: digits }, () => Math.floor(random() * 16).toString(16)).join("");
  const name = pick(NAMES);
  return {
    id: `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`, index, name, title: `${name} of ${pick(OWNERS)}`, state: pick(STATES),
    image: `registry.example.org/applications/${name}:3.${Math.floor(random() * 20)}`, cpuMillicores: Math.floor(random() * 2000), memoryBytes: Math.floor(random() * 2 ** 31),
    startedAt: new Date(1.7e12 + Math.floor(random() * 3e10)).toISOString(), labels: { tier: "desktop", zone: pick(["eu-west-1a", "eu-west-1b"]), shared: random() < 0.2 },
  };
}

/** The same numbers from 0 to below 1 each time (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
