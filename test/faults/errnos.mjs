// Which errors a call of the addon's may be answered with, and what the library is to make of each.

const kvm = ['EINTR', 'ENOMEM', 'EINVAL', 'EFAULT'];
const file = ['EMFILE', 'ENFILE', 'ENOMEM'];

/** By the label of a call; what is not here is not made to fail, and `unbreakable` says why. */
export const errnos = {
  open: ['EINTR', 'EACCES', 'ENOENT', 'EMFILE', 'ENFILE', 'ENOMEM', 'ENODEV', 'EBUSY', 'EOPNOTSUPP'],
  memfd_create: [...file, 'EPERM'],
  ftruncate: ['EINTR', 'EPERM', 'EFBIG', 'ENOSPC', 'EINVAL'],
  fallocate: ['EINTR', 'ENOSPC', 'EFBIG', 'EPERM', 'EIO', 'EOPNOTSUPP', 'ENODEV', 'ENOMEM'],
  fstat: ['ENOMEM', 'EOVERFLOW', 'EIO'],
  fstatfs: ['EINTR', 'ENOMEM', 'EIO', 'ENOSYS'],
  'fcntl(F_ADD_SEALS)': ['EPERM', 'EBUSY', 'EINVAL'],
  'fcntl(F_SETPIPE_SZ)': ['EPERM', 'EBUSY', 'ENOMEM'],
  mmap: ['ENOMEM', 'EAGAIN', 'EACCES', 'ENODEV', 'EPERM', 'ENFILE', 'EOVERFLOW'],
  munmap: ['ENOMEM'],
  mprotect: ['ENOMEM', 'EACCES', 'EINVAL'],
  madvise: ['EINTR', 'EAGAIN', 'ENOMEM', 'EFAULT', 'EHWPOISON', 'EINVAL', 'EIO', 'EPERM'],
  mincore: ['EAGAIN', 'ENOMEM', 'EFAULT'],
  mbind: ['ENOMEM', 'EIO', 'EPERM', 'EINVAL', 'ENOSYS'],
  get_mempolicy: ['EFAULT', 'EINVAL', 'ENOSYS'],
  move_pages: ['ENOMEM', 'EPERM', 'ENODEV', 'EACCES', 'ENOSYS'],
  io_uring_setup: ['ENOSYS', 'EPERM', ...file],
  io_uring_register: ['EFAULT', 'ENOMEM', 'EBUSY', 'EOPNOTSUPP'],
  vmsplice: ['EAGAIN', 'ENOMEM', 'EFAULT'],
  pipe2: ['EMFILE', 'ENFILE'],
  fork: ['EAGAIN', 'ENOMEM'],
  wait4: ['EINTR'],
  read: ['EINTR', 'EIO'],
  write: ['EINTR', 'EIO', 'EPIPE'],
  timer_create: ['EAGAIN', 'ENOMEM'],
  sched_setaffinity: ['EINVAL', 'EPERM'],
  'pthread_create: clone3': ['EAGAIN', 'ENOMEM', 'EPERM'],
  'pthread_create: clone': ['EAGAIN', 'ENOMEM'],
  'pthread_create: mmap': ['ENOMEM', 'EAGAIN'],
  'pthread_create: mprotect': ['ENOMEM'],
  'ioctl(KVM_CREATE_VM)': ['EINTR', 'EBUSY', 'ENODEV', 'EINVAL', ...file],
  'ioctl(KVM_CREATE_VCPU)': ['EINTR', 'EEXIST', 'EBUSY', 'EINVAL', ...file],
  'ioctl(KVM_CREATE_GUEST_MEMFD)': ['EINTR', 'EINVAL', 'ENOTTY', ...file],
  'ioctl(KVM_SET_USER_MEMORY_REGION2)': [...kvm, 'EEXIST', 'EBADF', 'EIO'],
  'ioctl(KVM_PRE_FAULT_MEMORY)': [...kvm, 'EAGAIN', 'ENOENT', 'EHWPOISON'],
  'ioctl(KVM_RUN)': ['EINTR', 'EAGAIN', 'EINVAL', 'EFAULT', 'EIO', 'ENOEXEC', 'ENOMEM', 'EHWPOISON'],
};

/** Calls that cannot fail with what the addon gives them, or whose failure cannot be put in from outside. */
export const unbreakable = {
  close: 'Linux frees the number whatever it answers; strace would keep it open',
  'fcntl(F_GETFD)': 'fails for a number that is not open, only',
  'fcntl(F_SETFD)': 'fails for a number that is not open, only',
  rt_sigprocmask: 'fails for wrong arguments, only',
  'pthread_create: rt_sigprocmask': 'fails for wrong arguments, only',
  rt_sigaction: 'fails for wrong arguments, only',
  futex: 'the C library’s and the C++ library’s: no error of it reaches the addon',
  'pthread_create: futex': 'the C library’s: no error of it reaches the addon',
  rt_sigreturn: 'the end of a signal handler: the kick of a vCPU, whose timer runs on after a run',
  restart_syscall: 'the kernel’s own going on after a signal',
  sched_yield: 'cannot fail',
  getpid: 'cannot fail',
  gettid: 'cannot fail',
  kill: 'fails for a process that is not there, only',
  tgkill: 'fails for a thread that is not there, only',
  timer_settime: 'fails for wrong arguments, only',
  timer_delete: 'fails for a timer that is not there, only',
  'pthread_create: munmap': 'the C library aborts where it cannot give a stack back',
  brk: 'the C library’s allocator, which then takes mmap',
};

/** What may be put in at a call. */
export function errnosOf(label) {
  return errnos[label] ?? (label.startsWith('ioctl(KVM_') ? kvm : []);
}

/**
 * Whether every call from the chosen one on is to fail: what populates memory does a stretch that fails once more, page by page,
 * to tell the page.
 */
export const isLasting = ({ label, function: from }, errno) =>
  label === 'madvise' && from === 'gm::Populate::populate_chunk' && errno !== 'EINTR';

/** Calls that are made again after a signal. */
const restarted = /^(open|ftruncate|fallocate|madvise|fstatfs|wait4|read|write|ioctl\(.*\))$/;

/**
 * What is to come of an error: 'goes on', or the class, code and call that the user is told.
 *
 * @param site.label the call
 * @param site.function the function of the addon that made it
 */
export function expected({ label, function: from }, errno) {
  if (errno === 'EINTR' && restarted.test(label)) return 'goes on';
  // pthread_create() knows one error for a lack of anything.
  if (label.startsWith('pthread_create: ')) return `KvmError ${errno === 'EPERM' ? 'EPERM' : 'EAGAIN'} pthread_create`;
  if (from === 'gm::PagePin::pin' || from === 'gm::PagePin::close') {
    // Another way to pin pages is taken; the pages themselves are no better for it.
    if (label === 'io_uring_setup') return 'goes on';
    if (label === 'io_uring_register' && (errno !== 'EFAULT' || from.endsWith('close'))) return 'goes on';
  }
  if (label === 'madvise' && from === 'gm::Populate::populate_chunk') {
    if (errno === 'EINVAL') return 'goes on'; // touches the pages
    return `KvmError ${errno} madvise(MADV_POPULATE)`;
  }
  if (label === 'open' && from === 'gm::MemoryFile::shared_memory')
    return errno === 'EOPNOTSUPP' ? 'goes on' : `KvmError ${errno} shm_open`; // makes an object with a name
  // Asks by a call that fails: EFAULT is "yes", anything else "no".
  if (from === 'gm::GuestMemfd::probe_memory_attributes') return 'goes on';
  // Where the last user of an address goes nobody is told; the memory behind it is gone by then.
  if (label === 'munmap' && !/::(close|map)$/.test(from.replace('gm::Environment::close', ''))) return 'goes on';
  // A refusal is what conversionModel() asks for.
  if (/CREATE_GUEST_MEMFD|SET_MEMORY_ATTRIBUTES/.test(label) && !['ENOMEM', 'EMFILE', 'ENFILE'].includes(errno))
    return `KvmError ${errno} ${label} or ConversionError ERR_CONVERSION_UNSUPPORTED`;
  // At a view the pages are not to be had, by whatever error the kernel says so.
  if (label === 'madvise' && ['EFAULT', 'ENOMEM', 'EINVAL', 'EHWPOISON'].includes(errno))
    return `KvmError ${errno} madvise or MemoryAccessError ERR_MEMORY_ACCESS`;
  return `KvmError ${errno} ${label === 'open' && from.startsWith('gm::Kvm') ? 'open(/dev/kvm)' : label}`;
}
