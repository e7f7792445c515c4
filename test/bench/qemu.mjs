import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A QEMU without a machine, to which objects are added by QMP: what one takes is then free of QEMU's own start. */
export class Qemu {
  #child;
  #replies;

  /** { qemu }, or { absent: why there is none }. */
  static async start() {
    const program = process.arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';
    const child = spawn(program, ['-machine', 'none', '-nodefaults', '-display', 'none', '-S', '-qmp', 'stdio'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const failed = await new Promise((resolve) => {
      child.once('error', (error) => resolve(error));
      child.once('spawn', () => resolve(undefined));
    });
    if (failed) return { absent: `${program} cannot be started (${failed.code})` };
    const qemu = new Qemu(child);
    await qemu.#reply(); // its greeting
    await qemu.#execute('qmp_capabilities');
    return { qemu };
  }

  constructor(child) {
    this.#child = child;
    this.#replies = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  async #reply() {
    for (;;) {
      const { value, done } = await this.#replies.next();
      if (done) throw new Error('QEMU has ended');
      const reply = JSON.parse(value);
      if (reply.error) throw new Error(`QEMU: ${reply.error.desc}`);
      if (!reply.event) return reply;
    }
  }

  #execute(execute, given) {
    this.#child.stdin.write(`${JSON.stringify({ execute, arguments: given })}\n`);
    return this.#reply();
  }

  /** Nanoseconds that adding an object took. */
  async addAndDelete(options) {
    const start = performance.now();
    await this.#execute('object-add', options);
    const took = performance.now() - start;
    await this.#execute('object-del', { id: options.id });
    return took * 1e6;
  }

  close() {
    this.#child.stdin.end(`${JSON.stringify({ execute: 'quit' })}\n`);
  }
}
