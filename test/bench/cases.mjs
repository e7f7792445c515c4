import { cases as calls } from './cases/calls.mjs';
import { cases as conversion } from './cases/conversion.mjs';
import { cases as memory } from './cases/memory.mjs';
import { cases as processes } from './cases/processes.mjs';

export const cases = [...calls, ...memory, ...conversion, ...processes];
