import { execFileSync } from 'node:child_process';

/** Tests that start processes run what is in dist/: it must be that of the sources at hand. */
export default function build(): void {
  execFileSync(process.execPath, ['scripts/build.mjs', 'ts'], { stdio: 'inherit' });
}
