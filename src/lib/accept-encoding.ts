// Which of the content codings on offer a client wants: Accept-Encoding with its qualities (RFC 9110 section 12.5.3).
// Used for what is compressed on the way and for files that lie there compressed. Browsers send a handful of different
// texts, so the answers are remembered, in a bounded table for each list of offers.
//
// Invariant: a coding that the client refused (`;q=0`) or never named is never chosen; null means the plain body.

const REMEMBERED = 256;
const REMEMBERED_LENGTH = 200;

// RFC 9110 section 12.4.2: 0 to 1 with at most three digits.
const WEIGHT = /^q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/i;
const CODING = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;

const remembered = new WeakMap<readonly string[], Map<string, string | null>>();

/**
 * @param accepted the client's Accept-Encoding; undefined when it sent none (which gets the plain body: the client may know no coding)
 * @param offered in the order in which equal qualities are decided; the same array each time, so that answers can be remembered
 * @returns null for the plain body, also where the client refuses that one and everything else
 */
export function chooseEncoding<E extends string>(accepted: string | undefined, offered: readonly E[]): E | null {
  if (accepted === undefined || accepted === "") return null;
  if (accepted.length > REMEMBERED_LENGTH) return choose(accepted, offered);
  let table = remembered.get(offered);
  if (table === undefined) remembered.set(offered, table = new Map());
  const known = table.get(accepted);
  if (known !== undefined) return known as E | null;
  const chosen = choose(accepted, offered);
  if (table.size >= REMEMBERED) table.clear();
  table.set(accepted, chosen);
  return chosen;
}

function choose<E extends string>(accepted: string, offered: readonly E[]): E | null {
  const weights = parse(accepted);
  // A plain body that is named is one of the choices; where it is not, any coding that is welcome comes before it.
  let best = weights.get("identity") ?? 0;
  let chosen: E | null = null;
  for (const encoding of offered) {
    const weight = weights.get(encoding) ?? weights.get("*") ?? 0;
    // On a tie a coding wins over the plain body, an earlier coding over a later one.
    if (weight === 0 || weight < best || (weight === best && chosen !== null)) continue;
    best = weight;
    chosen = encoding;
  }
  return chosen;
}

/** Weights by coding. What is malformed counts as not sent; of two weights for one coding the lower one counts. */
function parse(accepted: string): Map<string, number> {
  const weights = new Map<string, number>();
  for (const element of accepted.toLowerCase().split(",")) {
    const [name = "", parameter, surplus] = element.split(";").map((part) => part.trim());
    const weight = parameter === undefined ? 1 : Number(WEIGHT.exec(parameter)?.[1] ?? Number.NaN);
    if (!CODING.test(name) || surplus !== undefined || Number.isNaN(weight)) continue;
    // RFC 9110 section 8.4.1.3: "x-gzip" is equivalent to "gzip".
    const coding = name === "x-gzip" ? "gzip" : name;
    weights.set(coding, Math.min(weight, weights.get(coding) ?? 1));
  }
  return weights;
}
