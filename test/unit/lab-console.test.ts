import { describe, expect, test } from 'vitest';
import { complaintsIn, consoleLines, tail } from '../../lib/lab/console.ts';

const console = (...lines: string[]) => lines.map((line, i) => `[    ${i}.000001] ${line}\r\n`).join('');
const start = (name: string) => `gmem-lab: check ${name}`;
const end = (name: string) => `gmem-lab: end of ${name}`;

const warning = [
  '------------[ cut here ]------------',
  'WARNING: CPU: 1 PID: 77 at virt/kvm/guest_memfd.c:123 kvm_gmem_release+0x1/0x2',
  'Call Trace:',
  ' <TASK>',
  '---[ end trace 0000000000000000 ]---',
];

describe('complaintsIn', () => {
  test('says which check a complaint came from, or none', () => {
    const found = complaintsIn(
      console(
        ...warning,
        start('file/stat'),
        'kvm_amd: Nested Paging enabled',
        end('file/stat'),
        start('guest/punch'),
        ...warning,
        end('guest/punch'),
        'rcu: INFO: rcu_sched self-detected stall on CPU',
      ),
    );
    expect(found.map(({ check, kind }) => [check, kind])).toEqual([
      [undefined, 'WARNING'],
      ['guest/punch', 'WARNING'],
      [undefined, 'RCU stall'],
    ]);
    expect(found[1]?.text).toContain('kvm_gmem_release');
    expect(found[1]?.text).not.toContain('gmem-lab');
  });

  test('tells a chain of reports as one, by its worst', () => {
    const [found, ...more] = complaintsIn(
      console(
        start('a/b'),
        'BUG: unable to handle page fault for address: 0000000000001000',
        'Oops: Oops: 0002 [#1] SMP',
        'RIP: 0010:kvm_gmem_bind+0x10/0x20',
        'Kernel panic - not syncing: Fatal exception',
        'Kernel Offset: disabled',
        '---[ end Kernel panic - not syncing: Fatal exception ]---',
      ),
    );
    expect(more).toEqual([]);
    expect(found).toMatchObject({ check: 'a/b', kind: 'panic' });
    expect(found?.text).toMatch(/page fault[\s\S]*kvm_gmem_bind[\s\S]*Fatal exception/);
  });

  test.each([
    ['KASAN', 'BUG: KASAN: slab-use-after-free in kvm_gmem_release+0x10/0x20'],
    ['lockdep', 'WARNING: possible circular locking dependency detected'],
    ['lockdep', 'WARNING: suspicious RCU usage'],
    ['hung task', 'INFO: task node:77 blocked for more than 30 seconds.'],
    ['RCU stall', 'rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:'],
    ['soft lockup', 'watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [node:77]'],
    ['BUG', 'kernel BUG at mm/filemap.c:123!'],
    ['BUG', 'BUG: sleeping function called from invalid context at mm/slab.h:1'],
    ['oops', 'general protection fault, probably for non-canonical address'],
    ['oops', 'Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000'],
    ['UBSAN', 'UBSAN: shift-out-of-bounds in virt/kvm/kvm_main.c:1:2'],
    ['panic', 'Kernel panic - not syncing: Attempted to kill init!'],
  ])('knows %s: %s', (kind, line) => {
    expect(complaintsIn(console(line)).map((one) => one.kind)).toEqual([kind]);
  });

  test('takes no offence at an ordinary boot', () => {
    expect(
      complaintsIn(
        console(
          'Linux version 7.3.4 (gcc) #1 SMP',
          'kvm_amd: Nested Virtualization enabled',
          'RAS: Correctable Errors collector initialized.',
          'rcu: Hierarchical RCU implementation.',
          'watchdog: NMI watchdog: disabled',
        ),
      ),
    ).toEqual([]);
  });
});

test('consoleLines leaves out what firmware and the kernel put around a line', () => {
  expect(consoleLines('\x1bc\x1b[?7l\x1b[2JSeaBIOS\r\r\n<4>[    1.5][    T1] hello\r\n')).toEqual([
    'SeaBIOS',
    'hello',
    '',
  ]);
});

test('tail gives the last lines that say something', () => {
  expect(tail(console('one', '', 'two', start('a/b'), 'three'), 2)).toBe('  two\n  three');
});
