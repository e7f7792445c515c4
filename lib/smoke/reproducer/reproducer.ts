import type { Check, HostFacts } from '../model.ts';
import type { Reproducer } from '../protocol.ts';
import type { Outcome } from '../run-check.ts';

export function reproducer(_check: Check, _outcome: Outcome, _host: HostFacts): Reproducer {
  return { problem: 'reproducers are not written yet' };
}
