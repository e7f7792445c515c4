/** The pieces of C programs that are about vCPUs, as {@link fragments} has the others. */
export const vcpuFragments: Readonly<Record<string, { readonly needs?: readonly string[]; readonly text: string }>> = {
  vcpu: {
    needs: ['result_of'],
    text: `/* The head of struct kvm_run. */
struct kvm_run {
	uint8_t request_interrupt_window, immediate_exit, padding1[6];
	uint32_t exit_reason;
	uint8_t ready_for_interrupt_injection, if_flag;
	uint16_t flags;
	uint64_t cr8, apic_base;
	union {
		struct {
			uint8_t direction, size;
			uint16_t port;
			uint32_t count;
			uint64_t data_offset;
		} io; /* KVM_EXIT_IO, 2 */
		struct {
			uint64_t phys_addr;
			uint8_t data[8];
			uint32_t len;
			uint8_t is_write;
		} mmio; /* KVM_EXIT_MMIO, 6 */
		struct {
			uint64_t flags, gpa, size;
		} memory_fault; /* KVM_EXIT_MEMORY_FAULT, 39 */
		uint64_t words[16];
	};
};

struct vcpu {
	int fd;
	size_t run_size;
	struct kvm_run *run;
	pthread_t thread;
	long result;
	int stopped;
};

static long create_vcpu(int kvm, int vm, unsigned long id, struct vcpu *vcpu)
{
	long fd = result_of(ioctl(vm, 0xae41ul /* KVM_CREATE_VCPU */, id));

	if (fd < 0)
		return fd;
	vcpu->fd = fd;
	vcpu->run_size = ioctl(kvm, 0xae04ul /* KVM_GET_VCPU_MMAP_SIZE */, 0);
	vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return vcpu->run == MAP_FAILED ? -errno : INIT_VCPU(vm, fd);
}`,
  },
  close_vcpu: {
    needs: ['vcpu'],
    text: `static void close_vcpu(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->run_size);
	close(vcpu->fd);
}`,
  },
  set_cpuid: {
    needs: ['result_of'],
    text: `/* The processor that KVM says it can give. */
static long set_cpuid(int kvm, int vcpu)
{
	static struct {
		uint32_t nent, padding, leaves[256][10];
	} list;

	list.nent = 256;
	if (ioctl(kvm, 0xc008ae05ul /* KVM_GET_SUPPORTED_CPUID */, &list) < 0)
		return -errno;
	return result_of(ioctl(vcpu, 0x4008ae90ul /* KVM_SET_CPUID2 */, &list));
}`,
  },
  regs: {
    needs: ['result_of'],
    text: `struct kvm_regs {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
};
static struct kvm_regs regs;

static long get_regs(int vcpu)
{
	return result_of(ioctl(vcpu, 0x8090ae81ul /* KVM_GET_REGS */, &regs));
}

static inline long set_regs(int vcpu)
{
	return result_of(ioctl(vcpu, 0x4090ae82ul /* KVM_SET_REGS */, &regs));
}`,
  },
  sregs: {
    needs: ['result_of'],
    text: `struct kvm_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint8_t type, present, dpl, db, s, l, g, avl, unusable, padding;
};
struct kvm_dtable {
	uint64_t base;
	uint16_t limit, padding[3];
};
struct kvm_sregs {
	struct kvm_segment cs, ds, es, fs, gs, ss, tr, ldt;
	struct kvm_dtable gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base, interrupt_bitmap[4];
};
static struct kvm_sregs sregs;

static long get_sregs(int vcpu)
{
	return result_of(ioctl(vcpu, 0x8138ae83ul /* KVM_GET_SREGS */, &sregs));
}

static inline long set_sregs(int vcpu)
{
	return result_of(ioctl(vcpu, 0x4138ae84ul /* KVM_SET_SREGS */, &sregs));
}`,
  },
  core_regs: {
    needs: ['result_of'],
    text: `/* x0 to x30, sp, pc, pstate: the head of struct kvm_regs of arm64. */
static uint64_t core[34];

static long transfer_core(int vcpu, unsigned long request)
{
	for (uint64_t i = 0; i < 34; i++) {
		struct {
			uint64_t id, address;
		} one = { 0x6030000000100000ull + 2 * i, (uintptr_t)&core[i] };

		if (ioctl(vcpu, request, &one) < 0)
			return -errno;
	}
	return 0;
}

static long get_core(int vcpu)
{
	return transfer_core(vcpu, 0x4010aeabul /* KVM_GET_ONE_REG */);
}

static inline long set_core(int vcpu)
{
	return transfer_core(vcpu, 0x4010aeacul /* KVM_SET_ONE_REG */);
}`,
  },
  run_vcpu: {
    needs: ['vcpu'],
    text: `static struct vcpu *running;

static void on_alarm(int number)
{
	(void)number;
	running->run->immediate_exit = 1;
}

static double milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* 0 for an exit, 1 when the time was over, or the negative errno. */
static long run_vcpu(struct vcpu *vcpu, double limit)
{
	struct itimerval timer = { .it_value = { limit / 1000, (long)(limit * 1000) % 1000000 } }, off = { 0 };
	struct sigaction action = { .sa_handler = on_alarm };
	double end = milliseconds() + limit;
	long result;

	running = vcpu;
	if (vcpu->run->exit_reason == 39)
		vcpu->run->exit_reason = 0;
	sigaction(SIGALRM, &action, NULL);
	if (limit >= 1)
		setitimer(ITIMER_REAL, &timer, NULL);
	do {
		result = result_of(ioctl(vcpu->fd, 0xae80ul /* KVM_RUN */, 0));
		if (result == -EINTR)
			vcpu->run->immediate_exit = 0;
	} while (result == -EINTR && milliseconds() < end);
	setitimer(ITIMER_REAL, &off, NULL);
	return result == -EINTR ? 1 : result;
}`,
  },
  thread: {
    needs: ['vcpu'],
    text: `static void on_kick(int number)
{
	(void)number;
}

static void *run_on_thread(void *given)
{
	struct vcpu *vcpu = given;

	do {
		vcpu->result = result_of(ioctl(vcpu->fd, 0xae80ul /* KVM_RUN */, 0));
	} while (vcpu->result == -EINTR && !vcpu->stopped);
	vcpu->run->immediate_exit = 0;
	return NULL;
}

static void start_vcpu(struct vcpu *vcpu)
{
	struct sigaction action = { .sa_handler = on_kick };

	sigaction(SIGUSR1, &action, NULL);
	vcpu->stopped = 0;
	if (vcpu->run->exit_reason == 39)
		vcpu->run->exit_reason = 0;
	if (pthread_create(&vcpu->thread, NULL, run_on_thread, vcpu)) {
		printf("cannot be asked here: no thread\\n");
		exit(4);
	}
}

static void stop_vcpu(struct vcpu *vcpu)
{
	vcpu->stopped = 1;
	vcpu->run->immediate_exit = 1;
	pthread_kill(vcpu->thread, SIGUSR1);
}

/* As run_vcpu(). */
static long finish_vcpu(struct vcpu *vcpu, double limit)
{
	struct timespec end;
	int late = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += (long)(limit / 1000) + 1;
	while (pthread_timedjoin_np(vcpu->thread, NULL, &end)) {
		stop_vcpu(vcpu);
		late = 1;
		usleep(1000);
	}
	return vcpu->result == -EINTR ? (late ? 1 : 2) : vcpu->result;
}`,
  },
  exit_of: {
    needs: ['vcpu'],
    text: `#define DONE 1000
#define TIMEOUT 1001

/* The exit reason of a run (2 IO, 3 HYPERCALL, 5 HLT, 6 MMIO, 8 SHUTDOWN, 17 INTERNAL_ERROR, 39 MEMORY_FAULT), DONE where
 * the guest program is through with its list, TIMEOUT, or the negative errno of KVM_RUN. */
static long exit_of(struct vcpu *vcpu, long result)
{
	struct kvm_run *run = vcpu->run;

	if (result == 1 || result == 2)
		return TIMEOUT;
	if (result < 0)
		return (result == -EFAULT || result == -EHWPOISON) && run->exit_reason == 39 ? 39 : result;
	return IS_DONE(run) ? DONE : run->exit_reason;
}`,
  },
  write_run: {
    needs: ['vcpu'],
    text: `/* An answer to an exit, or immediate_exit. */
static void write_run(struct vcpu *vcpu, size_t offset, uint64_t value, size_t size)
{
	memcpy((char *)vcpu->run + offset, &value, size);
}`,
  },
  pre_fault: {
    needs: ['result_of'],
    text: `struct kvm_pre_fault_memory {
	uint64_t gpa, size, flags, padding[5];
};
#define KVM_PRE_FAULT_MEMORY 0xc040aed5ul
static struct kvm_pre_fault_memory left; /* what the last pre_fault() left */

static long pre_fault(int vcpu, uint64_t gpa, uint64_t size, uint64_t flags)
{
	left = (struct kvm_pre_fault_memory){ .gpa = gpa, .size = size, .flags = flags };
	return result_of(ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &left));
}`,
  },
  guest_commands: {
    text: `/* What the guest program is told: see guest_program. */
struct command {
	uint32_t op, width;
	uint64_t a, b, c, d, result, state, unused;
};
enum { END, LOAD, STORE, FILL, COMPARE, CHECKSUM, HYPERCALL, PORT_OUT, PORT_IN, SPIN, HALT, COPY };`,
  },
  vmmcall: {
    text: `/* The hypercall instruction is AMD's VMMCALL or Intel's VMCALL: the other one KVM would patch into the guest. */
static int vmmcall(void)
{
	char line[256];
	int amd = 0;
	FILE *file = fopen("/proc/cpuinfo", "r");

	while (file && fgets(line, sizeof(line), file))
		if (strstr(line, "AuthenticAMD") || strstr(line, "HygonGenuine"))
			amd = 1;
	if (file)
		fclose(file);
	return amd;
}`,
  },
};

/** What differs between processors, as macros that the pieces use. */
export const architectureMacros: Readonly<Record<string, string>> = {
  x64: `#define INIT_VCPU(vm, vcpu) 0
#define IS_DONE(run) ((run)->exit_reason == 2 && (run)->io.direction == 1 && (run)->io.port == 0x600)`,
  arm64: `struct kvm_vcpu_init {
	uint32_t target, features[7];
};

static long init_vcpu(int vm, int vcpu)
{
	struct kvm_vcpu_init init = { 0 };

	if (ioctl(vm, 0x8020aeaful /* KVM_ARM_PREFERRED_TARGET */, &init) < 0)
		return -errno;
	init.features[0] |= 1 << 2; /* PSCI 0.2 */
	return ioctl(vcpu, 0x4020aeaeul /* KVM_ARM_VCPU_INIT */, &init) < 0 ? -errno : 0;
}
#define INIT_VCPU(vm, vcpu) init_vcpu(vm, vcpu)
/* The guest program stores to the address behind its memory. */
#define IS_DONE(run) ((run)->exit_reason == 6 && (run)->mmio.is_write && ((run)->mmio.phys_addr & 0xfffff) == 0x50000)`,
};
