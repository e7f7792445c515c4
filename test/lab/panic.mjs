// Checks for a lab machine, one of which ends it: a panic of the kernel's own making.
import { writeFileSync } from 'node:fs';

function check(name, run) {
  return { name: `panic/${name}`, title: name, since: '', run };
}

export const checks = [
  check('before', () => {}),
  check('panics', () => writeFileSync('/proc/sysrq-trigger', 'c')),
  check('after', () => {}),
];
