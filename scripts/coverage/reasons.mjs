// Why lines are not executed where coverage is measured, by the first pattern that a file's path matches.
const kvm = 'needs /dev/kvm: executed by the host tests where there is one, and in lab machines';
const process =
  'runs in a process of its own, which v8 does not count here: tests of the commands look at what it prints';
const lab = 'starts QEMU: executed by the lab tests, which are not counted';
const failures = 'failures of the kernel that cannot be brought about at will; fault injection makes some of them';

const reasons = [
  [/^native\/core\/(?:kvm|vm|vcpu|guest_memfd|kick|conversion)\b/, kvm],
  [/^native\/core\/ioctl/, kvm],
  [/^native\/addon\/(?:kvm|vm|vcpu|guest_memfd|conversion|raw)\b/, kvm],
  [/^native\/addon\/environment\b/, `objects of KVM: ${kvm}`],
  [/^native\/uapi\//, kvm],
  [/^native\/core\/(?:in_child|page_pin|forked_child|populate|mapping|memory_file)\b/, failures],
  [/^native\//, failures],
  [/^lib\/kvm\/(?:kvm|vm|vcpu|guest-memfd|capabilities|conversion-model|conversion-steps|raw)\.ts$/, kvm],
  [/^lib\/guest\//, kvm],
  [/^lib\/conversion\//, kvm],
  [/^lib\/smoke\/(?:checks|stress)\//, `a check: ${kvm}`],
  [/^lib\/smoke\/reproducer\//, `programs for failed checks: executed by the lab tests`],
  [/^lib\/smoke\/(?:worker|process-worker|work|run-check|context|trace)/, process],
  [/^lib\/smoke\//, kvm],
  [/^lib\/cli\//, process],
  [/^lib\/lab\//, lab],
  [
    /^lib\/backends\//,
    `backends in VMs, huge pages and NUMA nodes that this machine has not: executed in lab machines`,
  ],
  [/^lib\/(?:probe|system)\//, 'findings of other machines than this one'],
  [/^lib\/kvm\/native\.ts$/, 'platforms and builds that are not this one'],
  [/^lib\/kvm\/trace\.ts$/, kvm],
  [/^lib\/kvm\//, failures],
  [/^lib\/reporters\//, 'combinations of results that no test renders'],
];

export const reasonFor = (file) => reasons.find(([pattern]) => pattern.test(file))?.[1];
