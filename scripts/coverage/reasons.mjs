// Why lines are not executed where coverage is measured, by the first pattern that a file's path matches.
const injected =
  'errors of the kernel, put in from outside (docs/faults.md) into processes that are traced and not counted';
const other =
  'executed by tests with KVM that are not counted: the host tests where there is one, fuzzing, faults and SECURITY.md in lab machines';
const lab = 'makes and watches machines, and kernels for them: executed by the lab tests and `npm run lab:setup`';
const passedOn = 'errors that nobody expects, which are passed on';
const wrongKernel = 'what a check says of a kernel that misbehaves: mutants of scripts/mutate.mjs execute it';
const child = 'runs in a forked child, or ends the process: nothing of that is counted';

const reasons = [
  // C++
  [/^native\/core\/(?:in_child|forked_child|guarded_memory)\b/, child],
  [/^native\/core\/memory_file\b/, 'kernels without O_TMPFILE in /dev/shm'],
  [
    /^native\/core\/page_pin\b/,
    'hosts that allow no io_uring, where a pipe holds the pages; fault injection makes this one such',
  ],
  [/^native\/core\//, injected],
  [/^native\/addon\/(?:environment|call|conversion|mapping)\b/, `what lib/kvm never asks; ${injected}`],
  [
    /^native\/addon\/vm\b/,
    'pages that only older Intel processors need: a host test sets them aside where there is a KVM',
  ],
  [/^native\/addon\/(?:module|populate|vcpu|raw)\b/, `environments that end in between, and ${injected}`],
  [/^native\/lab\//, 'the first process of a lab machine'],
  // The library
  [/^lib\/guest\/arm64\.ts$/, 'guests of arm64: executed by the matrix of lab machines'],
  [/^lib\/guest\//, `architectures without a guest program; ${other}`],
  [/^lib\/conversion\//, `${passedOn}; ${other}`],
  [/^lib\/kvm\/mapping\.ts$/, 'views in releases of Node that have transfer(), and those that cannot be detached'],
  [/^lib\/kvm\/native\.ts$/, 'platforms, and flags of Node, that are not these'],
  [/^lib\/kvm\//, `arguments that are refused, arm64, and ${injected}; ${other}`],
  [/^lib\/probe\//, `hosts where something of it is missing or wrong; ${passedOn}`],
  [
    /^lib\/backends\/(?:advice-host|allocate|backend|memfd|prealloc|numa|host)\.ts$/,
    'answers of hosts with enclaves, without huge pages, that never overcommit, of older kernels; what comes when huge pages run out',
  ],
  [/^lib\/backends\//, `${passedOn}; names that every text fits`],
  [/^lib\/system\//, 'files that these machines have and others have not'],
  // The suite and its commands
  [
    /^lib\/smoke\/reproducer\//,
    'calls that no check fails with here: executed where kernels misbehave, as mutants of scripts/mutate.mjs do',
  ],
  [/^lib\/smoke\/(?:checks|stress|expect)\b/, `${wrongKernel}; other hosts and architectures`],
  [
    /^lib\/smoke\//,
    'checks that hang, crash, throw or make the kernel complain, and other hosts: executed by lab tests that are not counted',
  ],
  [/^lib\/cli\/lab/, lab],
  [
    /^lib\/cli\//,
    `terminals, files that cannot be written, Ctrl-C and kernels that misbehave: executed by tests that are not counted; ${passedOn}`,
  ],
  [
    /^lib\/lab\/archive\.ts$/,
    "the mirror of this machine's apt, and progress of what takes more than 5 s: executed by `npm run lab:setup`",
  ],
  [/^lib\/lab\//, lab],
];

export const reasonFor = (file) => reasons.find(([pattern]) => pattern.test(file))?.[1];
