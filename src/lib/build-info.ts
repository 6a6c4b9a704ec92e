// Which build this is. The version stands in package.json; the commit is put in by build.ts and is "unknown" when the
// program runs from its sources.

import { version } from "../../package.json";

declare const ROUTE_BUILD_COMMIT: string | undefined;

export const VERSION: string = version;
export const COMMIT: string = typeof ROUTE_BUILD_COMMIT === "string" ? ROUTE_BUILD_COMMIT : "unknown";
