// What runs inside a lab machine: the worker of the suite, on the virtio-serial port that init opened as descriptor 3.
import { readFileSync, writeFileSync, writeSync } from 'node:fs';
import type { Assignment, WorkerMessage } from '../smoke/protocol.ts';
import { work } from '../smoke/work.ts';
import { mark } from './console.ts';

const channel = 3;

/** The kernel's log and the channel are two ways to the host; marks in the log say what belongs to which check. */
function markLog(text: string): void {
  try {
    writeFileSync('/dev/kmsg', `<1>${text}\n`);
  } catch {
    // a kernel without printk: it has no complaints to attribute either
  }
}

function tell(message: WorkerMessage): void {
  if (message.type === 'start') markLog(`${mark.start} ${message.name}`);
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(channel, bytes, at);
  if (message.type === 'result') markLog(`${mark.end} ${message.result.name}`);
}

try {
  await work(JSON.parse(readFileSync('/lab/job.json', 'utf8')) as Assignment, tell);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
