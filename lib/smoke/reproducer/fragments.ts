/** A piece of the C programs, and the pieces that it is written with. */
interface Fragment {
  readonly needs?: readonly string[];
  readonly text: string;
}

/** The number of `_IO…(0xAE, number, size)`: direction 1 writes to the kernel, 2 reads, 3 does both. */
function request(direction: number, number: number, size: number): string {
  return `0x${(((direction << 30) | (size << 16) | 0xae00 | number) >>> 0).toString(16)}ul`;
}

/** A function over one ioctl with a struct, whose fields are the function's parameters in order. */
function ioctlWith(name: string, number: string, struct: string, types: readonly string[], names: readonly string[]) {
  const parameters = names.map((one, i) => `${types[i]} ${one}`).join(', ');
  const fields = names.map((one) => `.${one} = ${one}`).join(', ');
  return `static long ${name}(int fd, ${parameters})
{
	struct ${struct} argument = { ${fields} };

	return result_of(ioctl(fd, ${number}, &argument));
}`;
}

const u64 = 'uint64_t';

/**
 * The pieces, in the order in which they stand in a program. The structs and numbers are those of the kernel's interface,
 * repeated here so that a program compiles with headers that are older than guest_memfd.
 */
export const fragments: Readonly<Record<string, Fragment>> = {
  result_of: {
    text: `/* What a call returned, or the negative errno. */
static inline long result_of(long result)
{
	return result < 0 ? -errno : result;
}`,
  },

  // ---- what came of a call ----

  must: {
    text: `/* A call that succeeded when this was recorded: without it the question cannot be asked. */
#define MUST(call) must(#call, call)

static inline long must(const char *what, long result)
{
	if (result < 0) {
		printf("cannot be asked here: %s: %s\\n", what, strerror(-result));
		exit(4);
	}
	return result;
}`,
  },
  differ: {
    text: `static int differences;`,
  },
  refused: {
    needs: ['differ'],
    text: `/* A call that was refused when this was recorded. */
#define REFUSED(call, number) refused(#call, call, number)

static inline void refused(const char *what, long result, int number)
{
	if (result == -number)
		return;
	differences++;
	printf("differs from the record: %s: %s, it was %s\\n", what, result < 0 ? strerror(-result) : "accepted",
	       strerror(number));
}`,
  },
  same: {
    needs: ['differ'],
    text: `/* A value that is compared with the one recorded. */
#define SAME(value, recorded) same(#value, value, recorded)

static inline void same(const char *what, uint64_t value, uint64_t recorded)
{
	if (value == recorded)
		return;
	differences++;
	printf("differs from the record: %s is 0x%llx, it was 0x%llx\\n", what, (unsigned long long)value,
	       (unsigned long long)recorded);
}`,
  },
  verdict: {
    text: `static int verdict(int misbehaves, const char *expected)
{
	printf("%s: expected: %s\\n", misbehaves ? "MISBEHAVES" : "ok", expected);
	return misbehaves ? 1 : 0;
}`,
  },

  // ---- VMs ----

  open_kvm: {
    text: `static int open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("cannot be asked here: /dev/kvm: %s\\n", strerror(errno));
		exit(4);
	}
	return fd;
}`,
  },
  create_vm: {
    needs: ['result_of'],
    text: `static long create_vm(int kvm, unsigned long type)
{
	return result_of(ioctl(kvm, ${request(0, 0x01, 0)} /* KVM_CREATE_VM */, type));
}`,
  },
  check_extension: {
    needs: ['result_of'],
    text: `static long check_extension(int fd, unsigned long capability)
{
	return result_of(ioctl(fd, ${request(0, 0x03, 0)} /* KVM_CHECK_EXTENSION */, capability));
}`,
  },
  enable_capability: {
    needs: ['result_of'],
    text: `struct kvm_enable_cap {
	uint32_t cap, flags;
	uint64_t args[4];
	uint8_t pad[64];
};
#define KVM_ENABLE_CAP ${request(1, 0xa3, 104)}

static long enable_capability(int vm, uint32_t cap, uint32_t flags, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct kvm_enable_cap argument = { .cap = cap, .flags = flags, .args = { a, b, c, d } };

	return result_of(ioctl(vm, KVM_ENABLE_CAP, &argument));
}`,
  },
  create_guest_memfd: {
    needs: ['result_of'],
    text: `struct kvm_create_guest_memfd {
	uint64_t size, flags, reserved[6];
};
#define GUEST_MEMFD_FLAG_MMAP 1
#define GUEST_MEMFD_FLAG_INIT_SHARED 2
#define KVM_CREATE_GUEST_MEMFD ${request(3, 0xd4, 64)}

${ioctlWith('create_guest_memfd', 'KVM_CREATE_GUEST_MEMFD', 'kvm_create_guest_memfd', [u64, u64], ['size', 'flags'])}`,
  },
  set_memory_region: {
    needs: ['result_of'],
    text: `struct kvm_userspace_memory_region2 {
	uint32_t slot, flags;
	uint64_t guest_phys_addr, memory_size, userspace_addr, guest_memfd_offset;
	uint32_t guest_memfd, pad1;
	uint64_t pad2[14];
};
#define KVM_MEM_LOG_DIRTY_PAGES 1
#define KVM_MEM_READONLY 2
#define KVM_MEM_GUEST_MEMFD 4
#define KVM_SET_USER_MEMORY_REGION ${request(1, 0x46, 32)}
#define KVM_SET_USER_MEMORY_REGION2 ${request(1, 0x49, 160)}

static long set_memory_region(int vm, unsigned long request, uint32_t slot, uint32_t flags, uint64_t guest_phys_addr,
			      uint64_t memory_size, const void *memory, int guest_memfd, uint64_t guest_memfd_offset)
{
	struct kvm_userspace_memory_region2 argument = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = guest_phys_addr,
		.memory_size = memory_size,
		.userspace_addr = (uintptr_t)memory,
		.guest_memfd = guest_memfd,
		.guest_memfd_offset = guest_memfd_offset,
	};

	return result_of(ioctl(vm, request, &argument));
}`,
  },
  set_memory_attributes: {
    needs: ['result_of'],
    text: `struct kvm_memory_attributes {
	uint64_t address, size, attributes, flags;
};
#define KVM_SET_MEMORY_ATTRIBUTES ${request(1, 0xd2, 32)}

${ioctlWith('set_memory_attributes', 'KVM_SET_MEMORY_ATTRIBUTES', 'kvm_memory_attributes', [u64, u64, u64, u64], ['address', 'size', 'attributes', 'flags'])}`,
  },
  set_memory_attributes2: {
    needs: ['result_of'],
    text: `struct kvm_memory_attributes2 {
	uint64_t offset, size, attributes, flags, error_offset, reserved[11];
};
#define KVM_SET_MEMORY_ATTRIBUTES2 ${request(3, 0xd2, 128)}

${ioctlWith('set_memory_attributes2', 'KVM_SET_MEMORY_ATTRIBUTES2', 'kvm_memory_attributes2', [u64, u64, u64, u64], ['offset', 'size', 'attributes', 'flags'])}`,
  },
  set_address: {
    needs: ['result_of'],
    text: `#define KVM_SET_TSS_ADDR ${request(0, 0x47, 0)}
#define KVM_SET_IDENTITY_MAP_ADDR ${request(1, 0x48, 8)}

static long set_tss_address(int vm, uint64_t address)
{
	return result_of(ioctl(vm, KVM_SET_TSS_ADDR, address));
}

static long set_identity_map_address(int vm, uint64_t address)
{
	return result_of(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &address));
}`,
  },
  allocate: {
    needs: ['result_of'],
    text: `static long allocate(int guest_memfd, int mode, uint64_t offset, uint64_t length)
{
	return result_of(fallocate(guest_memfd, mode, offset, length));
}`,
  },
  file_facts: {
    needs: ['result_of'],
    text: `static struct stat file_stat;
static struct statfs file_system;

static long file_facts(int fd)
{
	return result_of(fstat(fd, &file_stat) < 0 ? -1 : fstatfs(fd, &file_system));
}`,
  },

  // ---- memory ----

  map_memory: {
    needs: ['result_of'],
    text: `/* The address, or the negative errno. */
static long map_memory(int fd, uint64_t offset, size_t length, int protection, int flags, size_t alignment)
{
	char *hint = NULL, *address;

	if (alignment > 4096) {
		char *space = mmap(NULL, length + alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (space == MAP_FAILED)
			return -errno;
		munmap(space, length + alignment);
		hint = (char *)(((uintptr_t)space + alignment - 1) & ~(alignment - 1));
	}
	address = mmap(hint, length, protection, flags, fd, offset);
	return address == MAP_FAILED ? -errno : (long)address;
}`,
  },
  guard: {
    text: `/* Memory that cannot be accessed gives SIGBUS or SIGSEGV: then an access ends early. */
static sigjmp_buf fault;
static volatile sig_atomic_t guarded;

static void on_fault(int number)
{
	if (guarded)
		siglongjmp(fault, 1);
	signal(number, SIG_DFL);
}

enum access { READ_MEMORY, WRITE_MEMORY, FILL_MEMORY, COMPARE_MEMORY };

/* Bytes done, all of them unless one could not be accessed; for COMPARE_MEMORY those that are equal, -1 for a fault. */
static long access_memory(enum access how, char *memory, uint64_t length, const char *bytes, char *into, int value)
{
	volatile uint64_t done = 0;

	signal(SIGBUS, on_fault);
	signal(SIGSEGV, on_fault);
	if (sigsetjmp(fault, 1)) {
		guarded = 0;
		return how == COMPARE_MEMORY ? -1 : (long)done;
	}
	guarded = 1;
	while (done < length) {
		char *at = memory + done;
		uint64_t step = 4096 - ((uintptr_t)at & 4095);
		uint64_t i;

		if (step > length - done)
			step = length - done;
		if (how == READ_MEMORY)
			memcpy(into + done, at, step);
		else if (how == WRITE_MEMORY)
			memcpy(at, bytes + done, step);
		else if (how == FILL_MEMORY)
			memset(at, value, step);
		else
			for (i = 0; i < step; i++)
				if (*(volatile char *)(at + i) != (char)(bytes ? bytes[done + i] : value)) {
					guarded = 0;
					return done + i;
				}
		done += step;
	}
	guarded = 0;
	return length;
}`,
  },
  read_memory: {
    needs: ['guard'],
    text: `static long read_memory(char *memory, uint64_t length, void *into)
{
	return access_memory(READ_MEMORY, memory, length, NULL, into, 0);
}`,
  },
  write_memory: {
    needs: ['guard'],
    text: `static long write_memory(char *memory, uint64_t length, const void *bytes)
{
	return access_memory(WRITE_MEMORY, memory, length, bytes, NULL, 0);
}`,
  },
  fill_memory: {
    needs: ['guard'],
    text: `static long fill_memory(char *memory, uint64_t length, int value)
{
	return access_memory(FILL_MEMORY, memory, length, NULL, NULL, value);
}`,
  },
  compare_memory: {
    needs: ['guard'],
    text: `/* How many bytes are equal before the first one that is not; -1 where the memory cannot be accessed. */
static long compare_memory(char *memory, uint64_t length, const void *bytes)
{
	return access_memory(COMPARE_MEMORY, memory, length, bytes, NULL, 0);
}`,
  },
  compare_fill: {
    needs: ['guard'],
    text: `/* How many bytes have the value before the first one that has not; -1 where the memory cannot be accessed. */
static long compare_fill(char *memory, uint64_t length, int value)
{
	return access_memory(COMPARE_MEMORY, memory, length, NULL, NULL, value);
}`,
  },
  write_words: {
    text: `/* Words that grow by the same amount, as entries of page tables do. */
static void write_words(char *memory, unsigned int count, uint64_t first, uint64_t step)
{
	for (unsigned int i = 0; i < count; i++)
		((uint64_t *)memory)[i] = first + i * step;
}`,
  },
  word_at: {
    text: `static uint64_t word_at(const char *memory)
{
	uint64_t word;

	memcpy(&word, memory, sizeof(word));
	return word;
}`,
  },
  number_at: {
    needs: ['guard'],
    text: `/* A number in memory that the guest or the host may have written. */
static uint64_t number_at(char *memory, unsigned int bytes)
{
	uint64_t number = 0;

	if (access_memory(READ_MEMORY, memory, bytes, NULL, (char *)&number, 0) != bytes)
		return ~0ull;
	return number;
}`,
  },
  advise: {
    needs: ['result_of'],
    text: `static long advise(char *memory, size_t length, int advice)
{
	return result_of(madvise(memory, length, advice));
}`,
  },
  protect: {
    needs: ['result_of'],
    text: `static long protect(char *memory, size_t length, int protection)
{
	return result_of(mprotect(memory, length, protection));
}`,
  },
  bind_memory: {
    needs: ['result_of'],
    text: `static long bind_memory(char *memory, size_t length, int mode, unsigned int flags, uint64_t nodes)
{
	unsigned long mask[16] = { nodes };

	return result_of(syscall(SYS_mbind, memory, length, mode, nodes ? mask : NULL, nodes ? 1025 : 0, flags));
}`,
  },
  policy_of: {
    needs: ['result_of'],
    text: `static int policy_mode;
static unsigned long policy_nodes[16];

static long policy_of(char *memory)
{
	return result_of(syscall(SYS_get_mempolicy, &policy_mode, policy_nodes, 1025, memory, 2 /* MPOL_F_ADDR */));
}`,
  },
  resident: {
    needs: ['result_of'],
    text: `static unsigned char resident_pages[65536];

static long resident(char *memory, size_t length)
{
	return result_of(mincore(memory, length, resident_pages));
}`,
  },
  nodes_of: {
    needs: ['result_of'],
    text: `static int page_nodes[65536];

static long nodes_of(char *memory, unsigned int pages)
{
	static void *addresses[65536];

	for (unsigned int i = 0; i < pages; i++)
		addresses[i] = memory + (size_t)i * sysconf(_SC_PAGESIZE);
	return result_of(syscall(SYS_move_pages, 0, (unsigned long)pages, addresses, NULL, page_nodes, 0));
}`,
  },

  // ---- calls with arguments of their own, and those of children ----

  open_again: {
    text: `static long open_again(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_CLOEXEC);
}`,
  },
  pin_memory: {
    needs: ['result_of'],
    text: `/* Pins pages for as long as the ring is there, as a device that reads or writes them does: a buffer registered with io_uring. */
static long pin_memory(char *memory, uint64_t length)
{
	uint64_t parameters[15] = { 0 }; /* struct io_uring_params */
	struct iovec range = { memory, length };
	long ring = result_of(syscall(SYS_io_uring_setup, 1, parameters)), rc;

	if (ring < 0)
		return ring;
	rc = result_of(syscall(SYS_io_uring_register, ring, 0 /* IORING_REGISTER_BUFFERS */, &range, 1));
	if (rc < 0) {
		close(ring);
		return rc;
	}
	return ring;
}

static inline void unpin_memory(int ring)
{
	/* Closing alone would let go of the pages some time later. */
	syscall(SYS_io_uring_register, ring, 1 /* IORING_UNREGISTER_BUFFERS */, NULL, 0);
	close(ring);
}`,
  },
  fork_child: {
    needs: ['result_of', 'read_memory', 'fill_memory'],
    text: `/* A forked child, which touches memory as it is told: value is the byte to store, or -1 to load one. */
struct child {
	pid_t pid;
	int requests[2], answers[2];
};
struct child_request {
	char *at;
	int value;
};

static long fork_child(struct child *child)
{
	struct child_request request;
	unsigned char byte = 0;
	long answer;

	if (pipe2(child->requests, O_CLOEXEC) < 0 || pipe2(child->answers, O_CLOEXEC) < 0)
		return -errno;
	child->pid = fork();
	if (child->pid != 0)
		return result_of(child->pid);
	close(child->requests[1]);
	while (read(child->requests[0], &request, sizeof(request)) == sizeof(request)) {
		answer = request.value < 0 ? read_memory(request.at, 1, &byte) : fill_memory(request.at, 1, request.value);
		answer = answer != 1 ? -EFAULT : request.value < 0 ? byte : 0;
		if (write(child->answers[1], &answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	_exit(0);
}

static inline long ask_child(struct child *child, char *at, int value)
{
	struct child_request request = { at, value };
	long answer;

	if (write(child->requests[1], &request, sizeof(request)) != sizeof(request) ||
	    read(child->answers[0], &answer, sizeof(answer)) != sizeof(answer))
		return -EPIPE;
	return answer;
}

static inline void end_child(struct child *child)
{
	int i;

	for (i = 0; i < 2; i++) {
		close(child->requests[i]);
		close(child->answers[i]);
	}
	waitpid(child->pid, NULL, 0);
}`,
  },
  child_load: {
    needs: ['fork_child'],
    text: `static inline long child_load(struct child *child, char *at)
{
	return ask_child(child, at, -1);
}`,
  },
  child_store: {
    needs: ['fork_child'],
    text: `static inline long child_store(struct child *child, char *at, unsigned char value)
{
	return ask_child(child, at, value);
}`,
  },
  ioctl_bytes: {
    needs: ['result_of'],
    text: `static long ioctl_bytes(int fd, unsigned long request, const void *bytes, size_t size)
{
	unsigned char argument[4096] = { 0 };

	if (bytes)
		memcpy(argument, bytes, size < sizeof(argument) ? size : sizeof(argument));
	return result_of(ioctl(fd, request, bytes ? argument : NULL));
}`,
  },
  child_status: {
    text: `/* The exit code of a child, or the number of the signal that ended it, below zero. */
static int child_status(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child) {
		printf("cannot be asked here: fork: %s\\n", strerror(errno));
		exit(4);
	}
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}`,
  },
  ioctl_in_child: {
    needs: ['ioctl_bytes', 'child_status'],
    text: `static long ioctl_in_child(int fd, unsigned long request, const void *bytes, size_t size)
{
	pid_t child = fork();

	if (child == 0) {
		long result = ioctl_bytes(fd, request, bytes, size);

		_exit(result < 0 ? -result : 0);
	}
	return -child_status(child);
}`,
  },
  allocate_in_child: {
    needs: ['allocate', 'child_status'],
    text: `static long allocate_in_child(int fd, int mode, uint64_t offset, uint64_t length)
{
	pid_t child = fork();

	if (child == 0)
		_exit(-allocate(fd, mode, offset, length));
	return -child_status(child);
}`,
  },
};
