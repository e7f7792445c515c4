// What runs inside a lab machine: the worker of the suite, on the virtio-serial port that init opened for its messages.
import { readFileSync, writeFileSync } from 'node:fs';
import { type Assignment, tellByChannel, type WorkerMessage } from '../smoke/protocol.ts';
import { work } from '../smoke/work.ts';
import { mark } from './console.ts';

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
  tellByChannel(message);
  if (message.type === 'result') markLog(`${mark.end} ${message.result.name}`);
}

try {
  await work(JSON.parse(readFileSync('/lab/job.json', 'utf8')) as Assignment, tell);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
