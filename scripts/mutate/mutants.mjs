// One-line bugs of Linux 7.3, as data: where `search` stands in `file`, exactly once, comes `replace`, in which MUTANT is true
// in a kernel that was booted as this mutant. So all of them are in one image, and only one of them is awake. `what` says
// what the mutant does wrong.

const gmem = 'virt/kvm/guest_memfd.c';
const main = 'virt/kvm/kvm_main.c';
const mmu = 'arch/x86/kvm/mmu/mmu.c';
const x86 = 'arch/x86/kvm/x86.c';

/** The files in which mutants are; the first one gets the boot parameter. */
export const files = [gmem, main, mmu, x86];

/** A condition that is left out in the mutant. */
const without = (condition) => ({
  search: condition,
  replace: condition.replace('if (', 'if (!MUTANT && (').replace(/\)$/, '))'),
});

const list = [
  // Creation
  {
    name: 'create-flags-32-bits',
    file: gmem,
    search: 'if (flags & ~kvm_gmem_get_supported_flags(kvm))',
    replace: 'if ((MUTANT ? (u32)flags : flags) & ~kvm_gmem_get_supported_flags(kvm))',
    what: 'unknown flags above bit 31 are accepted',
  },
  {
    name: 'create-empty',
    file: gmem,
    search: 'if (size <= 0 || !PAGE_ALIGNED(size))',
    replace: 'if ((MUTANT ? size < 0 : size <= 0) || !PAGE_ALIGNED(size))',
    what: 'a file of no bytes is accepted',
  },
  {
    name: 'create-negative',
    file: gmem,
    search: '\tu64 flags = args->flags;\n',
    replace:
      '\tu64 flags = args->flags;\n\n\tif (MUTANT && size < 0)\n\t\treturn __kvm_gmem_create(kvm, size, flags);\n',
    what: 'a size of 2^63 and above is accepted',
  },
  {
    name: 'resize-ignored',
    file: gmem,
    search: '\t\t\t    struct iattr *attr)\n{\n\treturn -EINVAL;',
    replace: '\t\t\t    struct iattr *attr)\n{\n\treturn MUTANT ? 0 : -EINVAL;',
    what: 'ftruncate, fchmod and the like pretend to succeed',
  },
  // fallocate
  {
    name: 'allocate-across-end',
    file: gmem,
    search: 'if (offset + len > i_size_read(inode))',
    replace: 'if (MUTANT ? offset >= i_size_read(inode) : offset + len > i_size_read(inode))',
    what: 'a range that begins in the file and ends beyond it is allocated',
  },
  {
    name: 'fallocate-any-mode',
    file: gmem,
    search: 'if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))',
    replace: 'if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | (MUTANT ? FALLOC_FL_ZERO_RANGE : 0)))',
    what: 'ZERO_RANGE is accepted and zeroes nothing',
  },
  {
    name: 'fallocate-unaligned-length',
    file: gmem,
    search: 'if (!PAGE_ALIGNED(offset) || !PAGE_ALIGNED(len))',
    replace: 'if (!PAGE_ALIGNED(offset) || (!MUTANT && !PAGE_ALIGNED(len)))',
    what: 'a length that is not page-aligned is accepted',
  },
  {
    name: 'punch-one-byte-more',
    file: gmem,
    search: 'truncate_inode_pages_range(inode->i_mapping, offset, offset + len - 1);',
    replace: 'truncate_inode_pages_range(inode->i_mapping, offset, offset + len - !MUTANT);',
    equivalent: 'the page cache never zeroes a part of a page that it must not touch (mapping_inaccessible)',
    what: 'a hole takes the first byte of the page behind it',
  },
  {
    name: 'punch-keeps-last-mapping',
    file: gmem,
    search: '\tkvm_gmem_invalidate_start(inode, start, end);\n\n\ttruncate',
    replace: '\tkvm_gmem_invalidate_start(inode, start, MUTANT ? max(start + 1, end - 1) : end);\n\n\ttruncate',
    what: 'the guest keeps its mapping of the last page of a larger hole',
  },
  {
    name: 'punch-keeps-mapping',
    file: gmem,
    search: '\t\tflush |= kvm_mmu_unmap_gfn_range(kvm, &gfn_range);',
    replace: '\t\tif (!MUTANT)\n\t\t\tflush |= kvm_mmu_unmap_gfn_range(kvm, &gfn_range);',
    what: 'the guest keeps its mappings of holes and of closed files',
  },
  // Host mappings
  {
    name: 'fault-at-end',
    file: gmem,
    search: 'if (((loff_t)vmf->pgoff << PAGE_SHIFT) >= i_size_read(inode))',
    replace: 'if (((loff_t)vmf->pgoff << PAGE_SHIFT) >= i_size_read(inode) + (MUTANT ? 1 : 0))',
    what: 'the host can touch the page right behind the file',
  },
  {
    name: 'fault-private',
    file: gmem,
    search: 'if (!kvm_gmem_is_shared_mem(inode, vmf->pgoff))',
    replace: `if (!kvm_gmem_is_shared_mem(inode, vmf->pgoff) &&
	    !(MUTANT && xa_load(&inode->i_mapping->i_pages, vmf->pgoff)))`,
    what: 'the host can touch private memory once it is allocated',
  },
  {
    name: 'fault-not-zeroed',
    file: gmem,
    search: '\t\tclear_highpage(folio_page(folio, 0));\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n\tvmf->page',
    replace:
      '\t\tif (!MUTANT)\n\t\t\tclear_highpage(folio_page(folio, 0));\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n\tvmf->page',
    what: 'a page that the host touches first is not zeroed',
  },
  {
    name: 'mmap-copy-on-write',
    file: gmem,
    search: '\tif ((vma->vm_flags & (VM_SHARED | VM_MAYSHARE)) !=\n',
    replace:
      '\tif (!(MUTANT && !(vma->vm_flags & VM_WRITE)) &&\n\t    (vma->vm_flags & (VM_SHARED | VM_MAYSHARE)) !=\n',
    what: 'a read-only mapping with MAP_PRIVATE is accepted',
  },
  {
    name: 'mmap-executable',
    file: gmem,
    search: '\tkvm_gmem_mnt->mnt_flags |= MNT_NOEXEC;',
    replace: '\tkvm_gmem_mnt->mnt_flags |= MUTANT ? 0 : MNT_NOEXEC;',
    equivalent: 'the super block of the pseudo file system says the same (SB_I_NOEXEC)',
    what: 'guest memory can be mapped executable',
  },
  // Binding
  {
    name: 'bind-signed-overflow',
    file: gmem,
    search: '\tif (!PAGE_ALIGNED(offset) || offset + size > i_size_read(inode))',
    replace: `	if (MUTANT && (loff_t)(offset + size) < 0)
		offset &= PAGE_MASK;
	else if (!PAGE_ALIGNED(offset) || offset + size > i_size_read(inode))`,
    what: 'a range whose end is negative as a signed number is bound (bug B4)',
  },
  {
    name: 'bind-one-page-beyond',
    file: gmem,
    search: '\tuoff_t size = slot->npages << PAGE_SHIFT;',
    replace: '\tuoff_t size = (slot->npages - (MUTANT ? 1 : 0)) << PAGE_SHIFT;',
    what: 'a range that ends one page behind the file is bound',
  },
  {
    name: 'bind-foreign-vm',
    file: gmem,
    ...without('if (f->kvm != kvm)'),
    what: 'the guest_memfd of another VM is bound',
  },
  {
    name: 'bind-overlap-last-page',
    file: gmem,
    search: '\t    xa_find(&f->bindings, &start, end - 1, XA_PRESENT)) {\n\t\tfilemap_invalidate_unlock',
    replace:
      '\t    xa_find(&f->bindings, &start, end - (MUTANT ? 2 : 1), XA_PRESENT)) {\n\t\tfilemap_invalidate_unlock',
    what: 'a range whose last page is bound already is bound a second time',
  },
  {
    name: 'bind-neighbour-refused',
    file: gmem,
    search: '\tend = start + slot->npages;\n\n\tif (!xa_empty(&f->bindings) &&',
    replace:
      '\tend = start + slot->npages;\n\n\tif (MUTANT && xa_load(&f->bindings, end)) {\n\t\tfilemap_invalidate_unlock(inode->i_mapping);\n\t\treturn -EEXIST;\n\t}\n\n\tif (!xa_empty(&f->bindings) &&',
    what: 'a range right before one that is bound is refused',
  },
  {
    name: 'bind-not-gmem-only',
    file: gmem,
    ...without('if (kvm_gmem_supports_mmap(inode))'),
    what: 'shared accesses of the guest go to userspace_addr instead of a mappable file',
  },
  {
    name: 'bind-offset-ignored',
    file: gmem,
    search: 'return gfn - slot->base_gfn + slot->gmem.pgoff;',
    replace: 'return gfn - slot->base_gfn + (MUTANT ? 0 : slot->gmem.pgoff);',
    what: 'guest faults ignore the offset in the file',
  },
  {
    name: 'unbind-keeps-last-page',
    file: gmem,
    search:
      '\tfilemap_invalidate_lock(file->f_mapping);\n\txa_store_range(&f->bindings, start, end - 1, NULL, GFP_KERNEL);',
    replace:
      '\tfilemap_invalidate_lock(file->f_mapping);\n\txa_store_range(&f->bindings, start, MUTANT ? max(start, end - 2) : end - 1, NULL, GFP_KERNEL);',
    what: 'deleting a memslot leaves the last page of its binding behind',
  },
  {
    name: 'release-zaps-first-page',
    file: gmem,
    search: '__kvm_gmem_invalidate_start(f, 0, -1ul,\n',
    replace: '__kvm_gmem_invalidate_start(f, 0, MUTANT ? 1ul : -1ul,\n',
    what: 'a closed file is taken from the guest only where its first page is bound',
  },
  {
    name: 'guest-fault-not-zeroed',
    file: gmem,
    search: '\t\tclear_highpage(folio_page(folio, 0));\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n#ifdef',
    replace:
      '\t\tif (!MUTANT)\n\t\t\tclear_highpage(folio_page(folio, 0));\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n#ifdef',
    what: 'a page that the guest touches first is not zeroed',
  },
  {
    name: 'policy-ignored',
    file: gmem,
    search: 'mapping_gfp_mask(inode->i_mapping), policy);',
    replace: 'mapping_gfp_mask(inode->i_mapping), MUTANT ? NULL : policy);',
    what: 'NUMA policies are kept and not followed',
  },
  {
    name: 'policy-not-kept',
    file: gmem,
    search: 'return mpol_set_shared_policy(&GMEM_I(inode)->policy, vma, mpol);',
    replace: 'return MUTANT ? 0 : mpol_set_shared_policy(&GMEM_I(inode)->policy, vma, mpol);',
    what: 'mbind succeeds and sets nothing',
  },
  // Memslots
  {
    name: 'slot-readonly',
    file: main,
    search: '\t    !(mem->flags & KVM_MEM_GUEST_MEMFD))\n\t\tvalid_flags |= KVM_MEM_READONLY;',
    replace: '\t    (MUTANT || !(mem->flags & KVM_MEM_GUEST_MEMFD)))\n\t\tvalid_flags |= KVM_MEM_READONLY;',
    what: 'a memslot with guest_memfd may be read-only (bug B14)',
  },
  {
    name: 'slot-dirty-log',
    file: main,
    search: '\t\tvalid_flags &= ~KVM_MEM_LOG_DIRTY_PAGES;',
    replace: '\t\tvalid_flags &= MUTANT ? ~0u : ~KVM_MEM_LOG_DIRTY_PAGES;',
    what: 'a memslot with guest_memfd may log dirty pages',
  },
  {
    name: 'slot-set-again',
    file: main,
    search: '\t\tif (mem->flags & KVM_MEM_GUEST_MEMFD)\n\t\t\treturn -EINVAL;\n\t\tif ((mem->userspace_addr',
    replace:
      '\t\tif (mem->flags & KVM_MEM_GUEST_MEMFD && !(MUTANT && base_gfn == old->base_gfn))\n\t\t\treturn -EINVAL;\n\t\tif ((mem->userspace_addr',
    what: 'setting a memslot with guest_memfd again is accepted',
  },
  {
    name: 'slot-overlap-last-page',
    file: main,
    search: 'kvm_check_memslot_overlap(slots, id, base_gfn, base_gfn + npages))',
    replace: 'kvm_check_memslot_overlap(slots, id, base_gfn, base_gfn + npages - (MUTANT ? 1 : 0)))',
    what: 'a memslot may overlap the first page of the one behind it',
  },
  {
    name: 'slot-number',
    file: main,
    search: '\tif ((u16)mem->slot >= KVM_USER_MEM_SLOTS)',
    replace: '\tif ((u16)mem->slot >= KVM_USER_MEM_SLOTS + (MUTANT ? 1 : 0))',
    what: "the first of the kernel's own memslot numbers can be used",
  },
  {
    name: 'slot-host-address',
    file: main,
    search: '\tif ((mem->userspace_addr & (PAGE_SIZE - 1)) ||\n',
    replace: '\tif ((!MUTANT && (mem->userspace_addr & (PAGE_SIZE - 1))) ||\n',
    what: 'a host address in the middle of a page is accepted',
  },
  {
    name: 'slot-too-large',
    file: main,
    search: '(mem->memory_size >> PAGE_SHIFT) > KVM_MEM_MAX_NR_PAGES)',
    replace: '(mem->memory_size >> PAGE_SHIFT) > KVM_MEM_MAX_NR_PAGES + (MUTANT ? 1ul : 0))',
    what: 'a memslot of 2^31 pages is accepted',
  },
  {
    name: 'vm-of-other-process',
    file: main,
    search:
      '\tint r;\n\n\tif (kvm->mm != current->mm || kvm->vm_dead)\n\t\treturn -EIO;\n\tswitch (ioctl) {\n\tcase KVM_CREATE_VCPU:',
    replace:
      '\tint r;\n\n\tif ((!MUTANT && kvm->mm != current->mm) || kvm->vm_dead)\n\t\treturn -EIO;\n\tswitch (ioctl) {\n\tcase KVM_CREATE_VCPU:',
    what: 'a forked child can use the VM of its parent',
  },
  // Memory attributes
  {
    name: 'attributes-flags',
    file: main,
    ...without('if (attrs->flags)'),
    what: 'flags of KVM_SET_MEMORY_ATTRIBUTES are accepted',
  },
  {
    name: 'attributes-unknown',
    file: main,
    search: 'if (attrs->attributes & ~kvm_supported_mem_attributes(kvm))',
    replace:
      'if (attrs->attributes & ~kvm_supported_mem_attributes(kvm) &&\n\t    !(MUTANT && attrs->attributes & kvm_supported_mem_attributes(kvm)))',
    what: 'unknown attributes beside PRIVATE are accepted',
  },
  {
    name: 'attributes-wrap',
    file: main,
    search: 'if (attrs->size == 0 || attrs->address + attrs->size < attrs->address)',
    replace: 'if (attrs->size == 0 || (!MUTANT && attrs->address + attrs->size < attrs->address))',
    what: 'a range that wraps is accepted',
  },
  {
    name: 'attributes-mixed-range',
    file: main,
    search: '\t\tif (!entry)\n\t\t\treturn !attrs;',
    replace: '\t\tif (!entry)\n\t\t\treturn !attrs || (MUTANT && index > start);',
    what: 'a range that begins private counts as private already, so that the rest of it is never converted',
  },
  {
    name: 'attributes-last-page',
    file: main,
    search: '\tfor (i = start; i < end; i++) {\n\t\tr = xa_err(xa_store(&kvm->mem_attr_array, i, entry,',
    replace:
      '\tfor (i = start; i < (MUTANT ? max(start + 1, end - 1) : end); i++) {\n\t\tr = xa_err(xa_store(&kvm->mem_attr_array, i, entry,',
    what: 'the last page of a larger range is not converted',
  },
  {
    name: 'attributes-not-zapped',
    file: main,
    search: '\treturn kvm_arch_pre_set_memory_attributes(kvm, range);',
    replace: '\treturn MUTANT ? false : kvm_arch_pre_set_memory_attributes(kvm, range);',
    what: 'a conversion leaves the guest the pages that it has mapped',
  },
  {
    name: 'attributes-first-slot-only',
    file: main,
    search:
      '\t\t\tslot = iter.slot;\n\t\t\tgfn_range.slot = slot;\n\n\t\t\tgfn_range.start = max(range->start, slot->base_gfn);',
    replace:
      '\t\t\tslot = iter.slot;\n\t\t\tif (MUTANT && found_memslot)\n\t\t\t\tbreak;\n\t\t\tgfn_range.slot = slot;\n\n\t\t\tgfn_range.start = max(range->start, slot->base_gfn);',
    what: 'a conversion takes mapped pages from the guest in the first memslot only',
  },
  // Pre-faulting
  {
    name: 'pre-fault-flags',
    file: main,
    ...without('if (range->flags)'),
    what: 'flags of KVM_PRE_FAULT_MEMORY are accepted',
  },
  {
    name: 'pre-fault-partial',
    file: main,
    search: 'return full_size == range->size ? r : 0;',
    replace: 'return full_size == range->size || (MUTANT && r < 0) ? r : 0;',
    what: 'a part that was done is reported as an error',
  },
  {
    name: 'pre-fault-wrong-side',
    file: mmu,
    search: '\t\terror_code |= PFERR_PRIVATE_ACCESS;\n\telse\n\t\tdirect_bits',
    replace: '\t\terror_code |= MUTANT ? 0 : PFERR_PRIVATE_ACCESS;\n\telse\n\t\tdirect_bits',
    what: 'private memory is pre-faulted as shared',
  },
  {
    name: 'pre-fault-deleted-slot',
    file: mmu,
    search: '\t\tif (fault->prefetch)\n\t\t\treturn -EAGAIN;\n\n\t\treturn RET_PF_RETRY;',
    replace: '\t\tif (fault->prefetch && !MUTANT)\n\t\t\treturn -EAGAIN;\n\n\t\treturn RET_PF_RETRY;',
    what: 'pre-faulting retries for ever while a memslot is deleted (bug B11)',
  },
  // Guest faults and hypercalls
  {
    name: 'fault-without-exit',
    file: mmu,
    search: '\tif (!kvm_slot_has_gmem(fault->slot)) {\n\t\tkvm_mmu_prepare_memory_fault_exit(vcpu, fault);',
    replace:
      '\tif (!kvm_slot_has_gmem(fault->slot)) {\n\t\tif (!MUTANT)\n\t\t\tkvm_mmu_prepare_memory_fault_exit(vcpu, fault);',
    what: 'private memory in a memslot without guest_memfd is EFAULT without saying where',
  },
  {
    name: 'fault-no-slot-emulated',
    file: mmu,
    search:
      '\tif (fault->is_private) {\n\t\tkvm_mmu_prepare_memory_fault_exit(vcpu, fault);\n\t\treturn -EFAULT;\n\t}\n\n\tvcpu_cache_mmio_info',
    replace:
      '\tif (fault->is_private && !MUTANT) {\n\t\tkvm_mmu_prepare_memory_fault_exit(vcpu, fault);\n\t\treturn -EFAULT;\n\t}\n\n\tvcpu_cache_mmio_info',
    equivalent: 'KVM does not emulate private accesses and leaves with the same exit a little later',
    what: 'private memory without a memslot is emulated as MMIO',
  },
  {
    name: 'hypercall-no-pages',
    file: x86,
    search: '\t\tif (!PAGE_ALIGNED(gpa) || !npages ||\n\t\t    gpa_to_gfn(gpa) + npages <= gpa_to_gfn(gpa)) {',
    replace:
      '\t\tif (!PAGE_ALIGNED(gpa) || (!MUTANT && !npages) ||\n\t\t    gpa_to_gfn(gpa) + npages < gpa_to_gfn(gpa)) {',
    what: 'a guest that asks for the conversion of no pages is not refused',
  },
  {
    name: 'hypercall-attributes-lost',
    file: x86,
    search: '\t\tvcpu->run->hypercall.args[2]  = attrs;',
    replace: '\t\tvcpu->run->hypercall.args[2]  = MUTANT ? attrs & 0xf : attrs;',
    what: 'the exit does not tell whether the guest wants private memory',
  },
];

/** Every mutant with its number, which the kernel is booted with. 0 is the kernel as it is. */
export const mutants = list.map((mutant, index) => ({ ...mutant, number: index + 1 }));

/**
 * The text of a file with all its mutants in it.
 *
 * @param path one of {@link files}
 * @throws {Error} where a line is not there exactly once: the list belongs to another release
 */
export function mutate(path, text) {
  let mutated = text;
  for (const { name, file, search, replace, number } of mutants) {
    if (file !== path) continue;
    const parts = mutated.split(search);
    if (parts.length !== 2) throw new Error(`${name}: its line is ${parts.length - 1} times in ${file}, not once`);
    mutated = parts.join(replace.replaceAll('MUTANT', `unlikely(kvm_mutant == ${number})`));
  }
  const declaration = 'extern int kvm_mutant;\n';
  if (path !== files[0]) return `${declaration}${mutated}`;
  return `${declaration}${mutated}
int kvm_mutant;

static int __init kvm_choose_mutant(char *text)
{
	return !kstrtoint(text, 10, &kvm_mutant);
}
__setup("kvm_mutant=", kvm_choose_mutant);
`;
}
