const isSelftest = (name) => name.startsWith('selftest/');
const broken = ({ status }) => status === 'fail' || status === 'error';

/** Names of what passed on the kernel as it is and not on the mutant. */
function caughtBy(before, after) {
  const passed = new Set(before.filter(({ status }) => status === 'pass').map(({ name }) => name));
  return after.filter((result) => broken(result) && passed.has(result.name)).map(({ name }) => name);
}

function listed(names, most) {
  if (names.length === 0) return '–';
  const shown = names.slice(0, most).map((name) => `\`${name.replace(/^selftest\//, '')}\``);
  const more = names.length - shown.length;
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ');
}

/** docs/mutation.md, from the results of the kernel as it is and of each mutant that was run. */
export function tableOf(mutants, pristine, resultOf) {
  const rows = mutants.map((mutant) => {
    const result = resultOf(mutant.name);
    return {
      mutant,
      result,
      ours: result ? caughtBy(pristine.results, result.results).filter((name) => !isSelftest(name)) : [],
      theirs: result ? caughtBy(pristine.results, result.results).filter(isSelftest) : [],
    };
  });
  const run = rows.filter(({ mutant, result }) => result && !mutant.equivalent);
  const equivalent = mutants.filter((mutant) => mutant.equivalent);
  const ours = run.filter(({ ours: names }) => names.length > 0);
  const theirs = run.filter(({ theirs: names }) => names.length > 0);
  const onlyTheirs = theirs.filter(({ ours: names }) => names.length === 0);
  const passing = (selftest) =>
    pristine.results.filter(({ name, status }) => isSelftest(name) === selftest && status === 'pass').length;
  const date = run
    .map(({ result }) => result.date)
    .sort()
    .at(-1);
  const lines = [
    '# Mutation score',
    '',
    'How much would a check find? Each line of the table is a one-line bug of Linux 7.3 (`scripts/mutate/mutants.mjs`): all of them',
    'are in one image, and the kernel’s command line says which is awake (`kvm_mutant=N`). It is configured and',
    'built as the lab’s `sw-protected-7.3` and booted under software emulation with two NUMA nodes, for this suite without its stress',
    'checks and for the kernel’s own selftests, built from the same source (`guest_memfd_test`,',
    '`set_memory_region_test`, `pre_fault_memory_test`, `private_mem_conversions_test` as it is and with two vCPUs and four',
    'memslots, `private_mem_kvm_exits_test`, `vm_types_test`). What is listed passes on the kernel as it is and does not on the',
    'mutant. A selftest ends at its first failure, so its name says that something is wrong; the name of a check says what.',
    '',
    `Run on ${date}: of ${run.length} mutants the suite catches ${ours.length}, the selftests ${theirs.length}; those that only the selftests catch: ${onlyTheirs.length}.`,
    `On the kernel as it is ${passing(false)} checks and ${passing(true)} selftests pass, and none fails.`,
    '',
    '`node scripts/mutate.mjs` builds the mutants, runs them and writes this page. It takes an hour or more on two processors.',
    '',
    '| mutant | what is wrong | checks that catch it | selftests that catch it |',
    '| --- | --- | --- | --- |',
    ...run.map(
      ({ mutant, ours: names, theirs: tests }) =>
        `| ${mutant.name} | ${mutant.what} | ${listed(names, 3)} | ${listed(tests, 3)} |`,
    ),
    '',
    'These were tried too and change nothing that can be seen there:',
    '',
    ...equivalent.map(({ name, what, equivalent: why }) => `- ${name} (${what}): ${why}.`),
    '',
  ];
  return lines.join('\n');
}
