import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { reasonFor } from './reasons.mjs';

/** 3-5, 9 */
function ranges(lines) {
  const found = [];
  for (const line of [...lines].sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last && last[1] + 1 === line) last[1] = line;
    else found.push([line, line]);
  }
  return found.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`));
}

/** docs/coverage.md: what tests execute here, and why the rest is not executed. */
export function documentOf(files, share, kernels) {
  const of = (folder) => files.filter(({ file }) => file.startsWith(`${folder}/`));
  const rows = files
    .filter(({ missed }) => missed.length > 0)
    .map(({ file, total, missed }) => {
      const lines = ranges(missed);
      const shown =
        lines.length > 8 ? `${lines.slice(0, 8).join(', ')} and ${lines.length - 8} more` : lines.join(', ');
      return `| ${file} | ${total - missed.length} of ${total} | ${shown} | ${reasonFor(file) ?? ''} |`;
    });
  return `# Coverage

Made by \`npm run coverage\` (lines of TypeScript by v8, of C++ by gcov); the reasons are kept in \`scripts/coverage/reasons.mjs\`.
Measured on ${new Date().toISOString().slice(0, 10)}, Linux ${release()}, Node ${process.version}, ${existsSync('/dev/kvm') ? 'with' : '**without**'} a /dev/kvm: by the unit and host tests with the
processes that they start, by the native tests, and ${
    kernels.length === 0
      ? 'not in lab machines, for there were no kernels here'
      : `in lab machines (${kernels.join(', ')}) by the commands of
gmem and the lab tests of the library`
  }. Not counted is what a process executed that was killed, traced, or had no more of something,
what other lab tests execute, and what boots and watches the machines. Of C++ neither is what the tests' own processes execute:
vitest ends them by a signal, behind which gcov writes nothing.

- TypeScript: ${share(of('lib'))}
- C++: ${share(of('native'))}

${files.filter(({ missed }) => missed.length === 0).length} files are executed wholly. Of the others:

| file | lines executed | not executed | why |
| --- | --- | --- | --- |
${rows.join('\n')}
`;
}
