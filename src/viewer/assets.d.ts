// What the viewer embeds as text, and its browser modules that tests import.

declare module "*.css" {
  const text: string;
  export default text;
}

declare module "*/viewer/ending.js" {
  export type End = { readonly code: number; readonly reason: string; readonly wasOpen: boolean; readonly isRefused: boolean };
  export type Ending = { readonly title: string; readonly hint: string; readonly isRetried: boolean };
  export function endingOf(end: End): Ending;
}

declare module "*/viewer/retries.js" {
  export class Retries {
    readonly count: number;
    next(livedMs: number): number | null;
    reset(): void;
  }
}
