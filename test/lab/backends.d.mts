/** The checks of backends.mjs, as the test reads them. */
export declare const checks: readonly { name: string; title: string; privateVm?: true; inPlace?: true }[];
