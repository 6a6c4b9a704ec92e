// HTTP-date in its three spellings (RFC 9110 section 5.6.7). Date.parse takes nearly anything, `1` included; a recipient of
// a date that is none must ignore the condition that it stands in.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const TIME = "(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)";
const FORMS = [
  new RegExp(`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?<day>\\d\\d) (?<month>[A-Z][a-z]{2}) (?<year>\\d{4}) ${TIME} GMT$`),
  new RegExp(`^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?<day>\\d\\d)-(?<month>[A-Z][a-z]{2})-(?<year>\\d\\d) ${TIME} GMT$`),
  new RegExp(`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?<month>[A-Z][a-z]{2}) (?<day>[ \\d]\\d) ${TIME} (?<year>\\d{4})$`),
];

export function formatHttpDate(ms: number): string {
  return new Date(ms).toUTCString();
}

/** @returns Unix time in ms (whole seconds); null when the text is no date @param nowMs against which two-digit years are read */
export function parseHttpDate(text: string, nowMs: number): number | null {
  for (const form of FORMS) {
    const parts = form.exec(text)?.groups;
    if (parts !== undefined) return instant(parts, nowMs);
  }
  return null;
}

function instant(parts: Readonly<Record<string, string>>, nowMs: number): number | null {
  const [day, hour, minute, second] = [Number(parts["day"]), Number(parts["hour"]), Number(parts["minute"]), Number(parts["second"])];
  const month = MONTHS.indexOf(parts["month"] ?? "");
  const ms = Date.UTC(fullYear(parts["year"] ?? "", nowMs), month, day, hour, minute, second);
  const date = new Date(ms);
  // The 31st of February, 25 o'clock: Date.UTC counts on.
  const isReal = month >= 0 && date.getUTCMonth() === month && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  return isReal ? ms : null;
}

// "a timestamp that appears to be more than 50 years in the future" is one of the past.
function fullYear(year: string, nowMs: number): number {
  if (year.length === 4) return Number(year);
  const thisYear = new Date(nowMs).getUTCFullYear();
  const guess = thisYear - (thisYear % 100) + Number(year);
  return guess > thisYear + 50 ? guess - 100 : guess;
}
