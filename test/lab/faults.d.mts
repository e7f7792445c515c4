export const checks: readonly { readonly name: string; readonly title: string; readonly since: string }[];
