import { spawn } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Launch, lines, type WorkerEnd, type WorkerMessage } from './protocol.ts';

const stderrKept = 8192;

/** Starts a worker as a process of this machine. */
export const launchProcess: Launch = (assignment, onMessage) => {
  const path = fileURLToPath(new URL(`./worker${extname(import.meta.url)}`, import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, path, JSON.stringify(assignment)], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-stderrKept);
  });
  const hear = lines((line) => {
    let message: WorkerMessage;
    try {
      message = JSON.parse(line) as WorkerMessage;
    } catch {
      return; // half a line of a process that died
    }
    onMessage(message);
  });
  const told = child.stdio[3] as NodeJS.ReadableStream;
  told.setEncoding('utf8').on('data', hear);
  const ended = new Promise<WorkerEnd>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stderr: stderr.trim() }));
  });
  return { ended, kill: () => child.kill('SIGKILL') };
};
