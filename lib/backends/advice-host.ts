import { existsSync, readFileSync } from 'node:fs';
import { Capability, GuestMemfdFlag, VmType } from '../kvm/constants.ts';
import { KvmError } from '../kvm/errors.ts';
import { Kvm } from '../kvm/kvm.ts';
import type { MemoryNeed } from './advice-table.ts';
import { hugePools, nodesWithMemory } from './host.ts';
import type { MemoryBackendOptions } from './properties.ts';
import { isGuestMemfd } from './validate.ts';
import { formatSize } from './values.ts';

/** Something that a backend needs of the host, and whether it is there. */
export interface HostFinding {
  readonly ok: boolean;
  readonly what: string;
}

const finding = (ok: boolean, good: string, bad: string): HostFinding => ({ ok, what: ok ? good : bad });

/** What KVM says of guest_memfd and of confidential guests. */
function kvmFindings(options: MemoryBackendOptions, needs: readonly MemoryNeed[]): HostFinding[] {
  const guestMemfd = isGuestMemfd(options);
  const confidential = needs.includes('coco') || needs.includes('in-place');
  if (!guestMemfd && !confidential) return [];
  try {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    const findings: HostFinding[] = [];
    if (guestMemfd) {
      const wanted = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
      const mappable = (vm.checkExtension(Capability.GUEST_MEMFD_FLAGS) & wanted) === wanted;
      findings.push(
        finding(mappable, 'guest_memfd can be mapped', 'guest_memfd cannot be mapped, which came with Linux 6.18'),
      );
      if (needs.includes('in-place')) {
        const converts = mappable && convertsInPlace(vm);
        findings.push(
          finding(converts, 'KVM converts in place', 'this kernel cannot convert in place; no release can'),
        );
      }
    }
    if (confidential) {
      const types = kvm.checkExtension(Capability.VM_TYPES);
      const names = Object.entries(VmType).filter(([, type]) => type !== VmType.DEFAULT && types & (1 << type));
      findings.push(
        finding(
          names.length > 0,
          `VM types with private memory: ${names.map(([name]) => name).join(', ')}`,
          'this KVM offers no VM type with private memory',
        ),
      );
    }
    return findings;
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    return [{ ok: false, what: error.message }];
  }
}

function convertsInPlace(vm: ReturnType<Kvm['createVm']>): boolean {
  using gmem = vm.createGuestMemfd({ size: 65536, flags: GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED });
  return gmem.supportsInPlaceConversion();
}

/** Looks for what a backend needs on this host, by using it where that costs nothing. */
export function hostFindings(options: MemoryBackendOptions, needs: readonly MemoryNeed[]): HostFinding[] {
  const findings = kvmFindings(options, needs);
  if (needs.includes('hugepages')) {
    const pools = hugePools();
    findings.push(
      finding(
        pools.some(({ free }) => free > 0),
        `free huge pages: ${pools.map(({ size, free }) => `${free} of ${formatSize(size)}`).join(', ')}`,
        pools.length > 0
          ? `no huge pages are reserved; write how many to ${pools[0]?.path}`
          : 'this kernel has no huge pages (CONFIG_HUGETLBFS)',
      ),
    );
  }
  if (needs.includes('numa')) {
    const nodes = nodesWithMemory();
    findings.push(
      finding(
        nodes.length > 1,
        `nodes with memory: ${nodes.join(', ')}`,
        'there is one node, so a policy chooses nothing',
      ),
    );
  }
  if (needs.includes('sgx'))
    findings.push(finding(existsSync('/dev/sgx_vepc'), '/dev/sgx_vepc is there', '/dev/sgx_vepc is not there'));
  if (needs.includes('ksm')) {
    const path = '/sys/kernel/mm/ksm/run';
    const running = existsSync(path) && readFileSync(path, 'utf8').trim() === '1';
    findings.push(finding(running, 'KSM is running', `KSM is not running; write 1 to ${path}`));
  }
  return findings;
}
