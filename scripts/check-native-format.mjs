// Checks the format of the C++ sources with clang-format, or mends it with --write.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

const files = readdirSync('native', { recursive: true })
  .filter((name) => /\.(cpp|hpp)$/.test(name))
  .map((name) => join('native', name));
const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '--Werror'];
try {
  execFileSync('clang-format', [...mode, ...files], { stdio: 'inherit' });
} catch (error) {
  if (error.code === 'ENOENT') console.error('clang-format is not on the PATH; run this by "npm run lint"');
  else console.error('run "npm run format" to mend the format');
  process.exit(1);
}
console.log(`${files.length} native files are well formatted`);
