// Consistent hashing: members own points on a ring, as many as their weights ask for, and a key belongs to the next point. A
// member that comes or goes moves only the keys of its own arcs; one that is out lends its arcs to the neighbours and gets
// them back. Points depend on nothing but keys and weights, so that all replicas and all restarts agree.
//
// Keys come from clients, and whoever knows the ring can send everything to one server. Nothing here prevents that: a
// stable assignment is what was asked for.

import type { Member, Standing } from "./standing.ts";

/**
 * Points of an average member: between half as many and this. More are more even, here about 6 % off, and slower to sort.
 * Not a power of two, so that members of weight 1 don't lie on the boundary where the scale changes (they have 256 each).
 */
const POINTS = 360;
/** Of all members together. Never reached by 1000 members: where it is, one more member changes the scale, and half of the keys move. */
const POINTS_IN_ALL = 2 ** 19;
/** Position and owner are sorted as one number: 32 bits and 20 bits. */
const OWNERS = 2 ** 20;

export class HashRing<M extends Member> {
  #positions = new Uint32Array();
  /** Of each position, as an index of `#members`. */
  #owners = new Uint32Array();
  #members: ReadonlyArray<Standing<M>> = [];

  /** Lays the ring out anew. @param members fewer than a million, whether they serve or not */
  build(members: ReadonlyArray<Standing<M>>): void {
    // By key, so that it does not matter in which order a name server lists them where two points coincide.
    this.#members = [...members].sort((a, b) => (a.member.key < b.member.key ? -1 : 1));
    const points = layOut(this.#members);
    this.#positions = new Uint32Array(points.length);
    this.#owners = new Uint32Array(points.length);
    // A loop: `Uint32Array.from` with a function takes several times as long.
    for (let at = 0; at < points.length; at++) {
      const point = points[at] as number;
      this.#positions[at] = point / OWNERS;
      this.#owners[at] = point % OWNERS;
    }
  }

  /** The owner of the key, or the next one on the ring that serves and was not tried; null when there is none. */
  find(key: string, tried: ReadonlySet<M>): Standing<M> | null {
    const { length } = this.#positions;
    let at = this.#firstFrom(hashOf(key));
    for (let step = 0; step < length; step++) {
      const standing = this.#members[this.#owners[at] as number] as Standing<M>;
      if (standing.isServing && !tried.has(standing.member)) return standing;
      at = at + 1 === length ? 0 : at + 1;
    }
    return null;
  }

  /** Index of the first position that is not before the hash; after the last one comes the first. */
  #firstFrom(hash: number): number {
    const positions = this.#positions;
    let [low, high] = [0, positions.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((positions[middle] as number) < hash) low = middle + 1;
      else high = middle;
    }
    return low === positions.length ? 0 : low;
  }
}

/** All points in order, each as its position times OWNERS plus its owner's index. */
function layOut<M extends Member>(members: ReadonlyArray<Standing<M>>): Float64Array {
  const perWeight = pointsPerWeight(members);
  const counts = members.map(({ weight }) => Math.max(1, Math.round(weight * perWeight)));
  const points = new Float64Array(counts.reduce((sum, count) => sum + count, 0));
  let next = 0;
  members.forEach(({ member }, owner) => {
    const seed = hashOf(member.key);
    for (let index = 1; index <= (counts[owner] as number); index++) {
      // Mixed before and after, so that members whose hashes are close have nothing else in common.
      points[next++] = mixed(seed ^ mixed(Math.imul(index, 0x9e3779b9))) * OWNERS + owner;
    }
  });
  return points.sort();
}

/**
 * A power of two: while the average weight stays within a factor of two, the points of those that stay don't change at all,
 * and where it leaves that range, the points of the smaller scale are among those of the larger one.
 */
function pointsPerWeight<M extends Member>(members: ReadonlyArray<Standing<M>>): number {
  const weights = members.reduce((sum, { weight }) => sum + weight, 0);
  const perMember = Math.min(POINTS, POINTS_IN_ALL / members.length);
  return 2 ** Math.floor(Math.log2((perMember * members.length) / weights));
}

/** 32 bits. FNV-1a over the UTF-16 units, then mixed, because its high bits change little with the last characters. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return mixed(hash);
}

/** The finaliser of MurmurHash3: each bit of the input changes each bit of the result with a chance of one half. */
function mixed(input: number): number {
  let hash = input;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
