/** The checks of unbreakable.mjs, as the test reads them. */
export declare const checks: readonly { name: string; title: string; since: string }[];
