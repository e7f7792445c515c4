// What strace wrote (-k -X raw): system calls with the functions that they were made from.

/** Libraries that make system calls on behalf of who called them. */
const betweenUsAndKernel = /\/(libc|libstdc\+\+|libgcc_s|libm|libpthread|ld-linux-[\w-]+|libasan|libubsan)[-.][^/]*$/;

/** Functions of the addon that several of its calls are made of: who called them is what counts. Compilers inline them or not. */
const partsOfCalls = /^gm::(AddressRange::release|\(anonymous namespace\)::unmap)\(/;

/** The requests of KVM, by the low 16 bits of their numbers. */
const requests = new Map(
  Object.entries({
    KVM_GET_API_VERSION: 0x00,
    KVM_CREATE_VM: 0x01,
    KVM_CHECK_EXTENSION: 0x03,
    KVM_GET_VCPU_MMAP_SIZE: 0x04,
    KVM_GET_SUPPORTED_CPUID: 0x05,
    KVM_CREATE_VCPU: 0x41,
    KVM_SET_USER_MEMORY_REGION: 0x46,
    KVM_SET_TSS_ADDR: 0x47,
    KVM_SET_IDENTITY_MAP_ADDR: 0x48,
    KVM_SET_USER_MEMORY_REGION2: 0x49,
    KVM_RUN: 0x80,
    KVM_GET_REGS: 0x81,
    KVM_SET_REGS: 0x82,
    KVM_GET_SREGS: 0x83,
    KVM_SET_SREGS: 0x84,
    KVM_SET_CPUID2: 0x90,
    KVM_ENABLE_CAP: 0xa3,
    KVM_GET_ONE_REG: 0xab,
    KVM_SET_ONE_REG: 0xac,
    KVM_ARM_VCPU_INIT: 0xae,
    KVM_ARM_PREFERRED_TARGET: 0xaf,
    KVM_SET_MEMORY_ATTRIBUTES: 0xd2,
    KVM_CREATE_GUEST_MEMFD: 0xd4,
    KVM_PRE_FAULT_MEMORY: 0xd5,
  }).map(([name, number]) => [0xae00 | number, name]),
);

/**
 * The finished calls of a log, in the order in which they ended; those of the addon have an `origin` and a `label`.
 */
export function parseLog(text, mainThread) {
  const calls = callsOf(text, mainThread);
  const before = new Map();
  for (const call of calls) {
    call.origin = originOf(call);
    // In clone3() the stack cannot be walked. pthread_create() blocks all signals just before it.
    const previous = before.get(call.thread);
    if (call.name === 'clone3' && !call.origin && previous?.origin?.via.includes('pthread_create'))
      call.origin = previous.origin;
    before.set(call.thread, call);
    call.label = call.origin && labelOf(call);
  }
  return calls;
}

function callsOf(text, mainThread) {
  const calls = [];
  const unfinished = new Map();
  let last;
  for (const line of text.split('\n')) {
    if (line.startsWith(' > ')) {
      const [, module, symbol = ''] = /^ > (\S+?)\(([^)]*(?:\)[^)]*)*)\) \[/.exec(line) ?? [];
      if (module) last?.frames.push({ module, symbol: symbol.replace(/\+0x[0-9a-f]+$/, '') });
      continue;
    }
    const [, pid = String(mainThread), rest = ''] = /^(?:(\d+) +)?(.*)$/.exec(line) ?? [];
    let whole = rest;
    const [, resumed] = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest) ?? [];
    if (resumed !== undefined) whole = `${unfinished.get(pid) ?? ''}${resumed}`;
    const begun = /^(.*) <unfinished \.\.\.>$/.exec(whole);
    if (begun) {
      unfinished.set(pid, begun[1]);
      last = undefined;
      continue;
    }
    const [, name, args, result, errno] = /^(\w+)\((.*)\) += (-?\w+|\?)(?: (E\w+))?/.exec(whole) ?? [];
    last = name && {
      thread: Number(pid),
      name,
      args: args.split(', '),
      result,
      errno,
      injected: whole.includes('(INJECTED)'),
      frames: [],
    };
    if (last) calls.push(last);
  }
  return calls;
}

/**
 * The function of the addon that made a call, and the functions of the C library in between; undefined for calls that Node
 * makes, also where it makes them because the addon has called it.
 */
function originOf({ frames }) {
  const via = [];
  for (const { module, symbol } of frames) {
    if (module.endsWith('.node')) {
      // A function of the C++ library may be a part of the addon, whose templates it is made of.
      const own = frames.find(
        (frame) => frame.module === module && /^gm::/.test(frame.symbol) && !partsOfCalls.test(frame.symbol),
      );
      const name = (own?.symbol ?? symbol).replaceAll('(anonymous namespace)::', '');
      return { function: name.replace(/\(.*/s, ''), via };
    }
    if (!betweenUsAndKernel.test(module)) return undefined;
    via.push(symbol.replace(/\(.*/s, ''));
  }
  return undefined;
}

/** How a call is named in KvmError.syscall and in the table. */
function labelOf({ name, args, origin: { via } }) {
  if (via.includes('pthread_create')) return `pthread_create: ${name}`;
  if (name === 'ioctl') return `ioctl(${requests.get(Number(args[1]) & 0xffff) ?? args[1]})`;
  if (name === 'fcntl')
    return `fcntl(${{ 1: 'F_GETFD', 2: 'F_SETFD', 1031: 'F_SETPIPE_SZ', 1033: 'F_ADD_SEALS' }[Number(args[1])] ?? args[1]})`;
  return { newfstatat: 'fstat', openat: 'open', clone: 'fork', mincore: 'mincore' }[name] ?? name;
}
