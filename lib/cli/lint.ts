import { lintCommandLine } from '../backends/lint.ts';
import { ExitCode, type Io, UsageError } from './io.ts';
import { tool } from './tool.ts';

const help = `Usage: gmem lint [--json] [--] QEMU-COMMAND-LINE

Finds every -object memory-backend-*, -machine memory-backend= and -numa memdev= in a QEMU command line, given as one
quoted text or as words, and says what QEMU would refuse, what has no effect, and what serves better.

Options (before the command line):
  --json           as JSON: { schemaVersion, tool, findings: [{ level, where, property, message }] }
  -h, --help       this text

Exit status: 0 nothing is wrong (there may be advice), 1 QEMU would refuse it, 2 wrong usage.
`;

/** `gmem lint`. What follows belongs to QEMU, so only the first words can be options of this command. */
export async function lintCommand(argv: readonly string[], io: Io): Promise<number> {
  const words = [...argv];
  let json = false;
  for (;;) {
    if (words[0] === '--help' || words[0] === '-h') {
      io.stdout.write(help);
      return ExitCode.ok;
    }
    if (words[0] !== '--json') break;
    json = true;
    words.shift();
  }
  if (words[0] === '--') words.shift();
  const [first] = words;
  if (first === undefined) throw new UsageError('lint: give a QEMU command line');
  const findings = lintCommandLine(words.length === 1 ? first : words);
  if (json) io.stdout.write(`${JSON.stringify({ schemaVersion: 1, tool, findings }, null, 2)}\n`);
  else
    for (const { level, where, property, message } of findings)
      io.stdout.write(
        `${level}: ${where}\n  ${property !== undefined && !message.startsWith(property) ? `${property}: ` : ''}${message}\n`,
      );
  return findings.some(({ level }) => level === 'error') ? ExitCode.failed : ExitCode.ok;
}
