import type { ChildProcess } from 'node:child_process';

export function interrupted(child: ChildProcess): Promise<void>;
