// What every answer of the admin API carries, refusals as well, and nobody else's does: by it a command line that was given the
// address of another server finds out before it believes, or changes, anything there.

export const ADMIN_MARK = { header: "x-route-gateway", value: "admin" } as const;
