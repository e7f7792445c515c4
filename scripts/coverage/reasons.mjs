// Why lines are not executed where coverage is measured, by the first pattern that a file's path matches.
const kvm = 'needs /dev/kvm: executed by the host tests where there is one, and in lab machines';
const lab =
  'makes machines for QEMU, and kernels: executed by the lab tests and `npm run lab:setup`, which are not counted';
const faults =
  'called by tests in processes that vitest ends by a signal; errors of the kernel that come by fault injection (docs/faults.md)';
const child = 'runs in a forked child, or ends the process: nothing of that is counted';

const reasons = [
  // C++
  [/^native\/core\/(?:kvm|vm|vcpu|guest_memfd|kick|conversion|ioctl|cpuid|exit_block)\b/, kvm],
  [/^native\/addon\/(?:kvm|vm|vcpu|guest_memfd|conversion|raw)\b/, kvm],
  [/^native\/addon\/(?:environment|call)\b/, `objects of KVM, and addresses that only they take: ${kvm}`],
  [/^native\/addon\/module\b/, `the guest program: ${kvm}; exceptions: no call throws any here`],
  [/^native\/core\/(?:in_child|forked_child|guarded_memory)\b/, child],
  [/^native\/core\/memory_file\b/, 'kernels without O_TMPFILE in /dev/shm'],
  [
    /^native\/core\/page_pin\b/,
    'hosts that allow no io_uring, where a pipe holds the pages; fault injection makes this one such',
  ],
  [/^native\/lab\//, 'the first process of a lab machine'],
  [/^native\//, faults],
  // The library
  [
    /^lib\/kvm\/(?:kvm|vm|vcpu|guest-memfd|capabilities|conversion-model|conversion-steps|raw|trace|registers)\.ts$/,
    kvm,
  ],
  [/^lib\/kvm\/(?:mapping-uses|file-calls)\.ts$/, `memslots and calls on guest_memfds: ${kvm}`],
  [/^lib\/kvm\/mapping\.ts$/, `memslots: ${kvm}; views in releases of Node that have transfer()`],
  [/^lib\/kvm\/native\.ts$/, 'platforms, and flags of Node, that are not these'],
  [/^lib\/kvm\/resource\.ts$/, 'what the garbage collector closes because nobody did'],
  [/^lib\/kvm\//, 'arguments and results that no caller in these tests gives'],
  [/^lib\/(?:guest|conversion|probe)\//, kvm],
  [
    /^lib\/backends\/(?:allocate|attachment|backend|exercise|advice-host)\.ts$/,
    `memory of a VM: ${kvm}; enclaves, and hosts that never overcommit: nowhere`,
  ],
  [
    /^lib\/backends\/(?:memfd|prealloc|numa|host)\.ts$/,
    'answers of hosts with huge pages, several nodes or older kernels; some are executed in lab machines',
  ],
  [/^lib\/backends\//, 'passes on errors that nobody expects, and names what every text fits'],
  [/^lib\/system\//, 'files that this machine has and others have not'],
  // The suite and its commands
  [
    /^lib\/smoke\/reproducer\//,
    'calls of failed checks that no test of this machine repeats: executed by the lab tests',
  ],
  [/^lib\/smoke\//, `checks, and what runs them: ${kvm}`],
  [/^lib\/cli\/lab/, lab],
  [/^lib\/cli\//, `what comes after the device was opened: ${kvm}; errors that nobody expects are passed on`],
  [
    /^lib\/lab\/archive\.ts$/,
    "the mirror of this machine's apt, and progress of what takes more than 5 s: executed by `npm run lab:setup`",
  ],
  [/^lib\/lab\//, lab],
];

export const reasonFor = (file) => reasons.find(([pattern]) => pattern.test(file))?.[1];
