// What a lab machine runs of a mutant, in one boot: the suite, and the kernel's own selftests.
import { checks as suite } from '/gmem/dist/smoke/catalogue.js';
import { selftests } from './selftests.mjs';

export const checks = [...suite, ...selftests];
