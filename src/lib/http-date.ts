// Dates in header fields (RFC 9110 section 5.6.7). Senders are sloppier than the grammar; what names one instant beyond
// doubt is read (any case, dashes or spaces, a missing comma, UTC for GMT), anything else is no date.

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
// Sun, 06 Nov 1994 08:49:37 GMT and Sunday, 06-Nov-94 08:49:37 GMT.
const DATE = /^[a-z]{3,9}[, ]\s*(\d{1,2})(?:-|\s+)([a-z]{3})(?:-|\s+)(\d{4}|\d\d)\s+(\d{1,2}):(\d\d):(\d\d)\s+(?:gmt|utc)$/i;
// Sun Nov  6 08:49:37 1994
const ASCTIME = /^[a-z]{3}\s+([a-z]{3})\s+(\d{1,2})\s+(\d\d):(\d\d):(\d\d)\s+(\d{4})$/i;
const CENTURY = 100;
/** RFC 9110 section 5.6.7: a two-digit year that seems to be further ahead is the last one with those digits. */
const AHEAD_YEARS = 50;

/** As it is written nowadays. @param ms Unix time; its whole seconds count */
export function formatHttpDate(ms: number): string {
  return new Date(ms).toUTCString();
}

/** @param nowMs decides the century of two-digit years. @returns Unix time in ms, or null when it is no date */
export function parseHttpDate(text: string, nowMs: number): number | null {
  const date = DATE.exec(text);
  if (date !== null) {
    const [, day, month = "", year = "", hour, minute, second] = date;
    return instant(year.length === 2 ? withCentury(Number(year), nowMs) : Number(year), month, day, hour, minute, second);
  }
  const [, month = "", day, hour, minute, second, year] = ASCTIME.exec(text) ?? [];
  return month === "" ? null : instant(Number(year), month, day, hour, minute, second);
}

function withCentury(digits: number, nowMs: number): number {
  const thisYear = new Date(nowMs).getUTCFullYear();
  const year = thisYear - (thisYear % CENTURY) + digits;
  return year > thisYear + AHEAD_YEARS ? year - CENTURY : year;
}

function instant(year: number, month: string, ...rest: Array<string | undefined>): number | null {
  const monthIndex = MONTHS.indexOf(month.toLowerCase());
  const [day = 0, hour = 0, minute = 0, second = 0] = rest.map(Number);
  // 60 is a leap second.
  if (monthIndex < 0 || day < 1 || hour > 23 || minute > 59 || second > 60) return null;
  // Of the 31st of February, Date.UTC makes a day in March.
  const isOfMonth = new Date(Date.UTC(year, monthIndex, day)).getUTCMonth() === monthIndex;
  return isOfMonth ? Date.UTC(year, monthIndex, day, hour, minute, second) : null;
}
