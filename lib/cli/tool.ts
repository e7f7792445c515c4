import { readFileSync } from 'node:fs';

const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');

/** Name and version of this package. */
export const tool: { readonly name: string; readonly version: string } = (({ name, version }) => ({ name, version }))(
  JSON.parse(text) as { name: string; version: string },
);
