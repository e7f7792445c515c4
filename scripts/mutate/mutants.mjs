// One-line bugs of Linux 7.3, as data: where `search` stands in `file`, exactly once, stands `replace` in the mutant. `what`
// says what the mutant does wrong. Grouped by what the line is for.

const gmem = 'virt/kvm/guest_memfd.c';
const main = 'virt/kvm/kvm_main.c';
const mmu = 'arch/x86/kvm/mmu/mmu.c';
const x86 = 'arch/x86/kvm/x86.c';
const internal = 'arch/x86/kvm/mmu/mmu_internal.h';

export const mutants = [
  // Creation
  {
    name: 'create-flags-32-bits',
    file: gmem,
    search: 'if (flags & ~kvm_gmem_get_supported_flags(kvm))',
    replace: 'if ((u32)flags & ~kvm_gmem_get_supported_flags(kvm))',
    what: 'unknown flags above bit 31 are accepted',
  },
  {
    name: 'create-empty',
    file: gmem,
    search: 'if (size <= 0 || !PAGE_ALIGNED(size))',
    replace: 'if (size < 0 || !PAGE_ALIGNED(size))',
    what: 'a file of no bytes is accepted',
  },
  {
    name: 'create-negative',
    file: gmem,
    search: 'if (size <= 0 || !PAGE_ALIGNED(size))',
    replace: 'if (!size || !PAGE_ALIGNED(size))',
    what: 'a size of 2^63 and above is accepted',
  },
  {
    name: 'resize-ignored',
    file: gmem,
    search: '\t\t\t    struct iattr *attr)\n{\n\treturn -EINVAL;',
    replace: '\t\t\t    struct iattr *attr)\n{\n\treturn 0;',
    what: 'ftruncate, fchmod and the like pretend to succeed',
  },
  // fallocate
  {
    name: 'allocate-across-end',
    file: gmem,
    search: 'if (offset + len > i_size_read(inode))',
    replace: 'if (offset >= i_size_read(inode))',
    what: 'a range that begins in the file and ends beyond it is allocated',
  },
  {
    name: 'fallocate-any-mode',
    file: gmem,
    search: 'if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))',
    replace: 'if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))',
    what: 'ZERO_RANGE is accepted and zeroes nothing',
  },
  {
    name: 'fallocate-unaligned-length',
    file: gmem,
    search: 'if (!PAGE_ALIGNED(offset) || !PAGE_ALIGNED(len))',
    replace: 'if (!PAGE_ALIGNED(offset))',
    what: 'a length that is not page-aligned is accepted',
  },
  {
    name: 'punch-one-byte-more',
    file: gmem,
    search: 'truncate_inode_pages_range(inode->i_mapping, offset, offset + len - 1);',
    replace: 'truncate_inode_pages_range(inode->i_mapping, offset, offset + len);',
    what: 'a hole takes the first byte of the page behind it',
  },
  {
    name: 'punch-keeps-last-mapping',
    file: gmem,
    search: '\tkvm_gmem_invalidate_start(inode, start, end);\n\n\ttruncate',
    replace: '\tkvm_gmem_invalidate_start(inode, start, max(start + 1, end - 1));\n\n\ttruncate',
    what: 'the guest keeps its mapping of the last page of a larger hole',
  },
  {
    name: 'punch-filter-shared',
    file: gmem,
    search: '\t\treturn KVM_FILTER_SHARED;',
    replace: '\t\treturn KVM_FILTER_PRIVATE;',
    what: 'a hole in shared memory leaves the guest its old pages (bug B5)',
  },
  {
    name: 'punch-filter-private',
    file: gmem,
    search: '\treturn KVM_FILTER_PRIVATE;\n}',
    replace: '\treturn KVM_FILTER_SHARED;\n}',
    what: 'a hole in private memory leaves the guest its old pages',
  },
  // Host mappings
  {
    name: 'fault-at-end',
    file: gmem,
    search: '<< PAGE_SHIFT) >= i_size_read(inode))',
    replace: '<< PAGE_SHIFT) > i_size_read(inode))',
    what: 'the host can touch the page right behind the file',
  },
  {
    name: 'fault-private',
    file: gmem,
    search: 'if (!kvm_gmem_is_shared_mem(inode, vmf->pgoff))',
    replace:
      'if (!kvm_gmem_is_shared_mem(inode, vmf->pgoff) && !filemap_range_has_page(inode->i_mapping, (loff_t)vmf->pgoff << PAGE_SHIFT, (loff_t)vmf->pgoff << PAGE_SHIFT))',
    what: 'the host can touch private memory once it is allocated',
  },
  {
    name: 'fault-not-zeroed',
    file: gmem,
    search: '\t\tclear_highpage(folio_page(folio, 0));\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n\tvmf->page',
    replace: '\t\tfolio_mark_uptodate(folio);\n\t}\n\n\tvmf->page',
    what: 'a page that the host touches first is not zeroed',
  },
  {
    name: 'mmap-copy-on-write',
    file: gmem,
    search: '\t    (VM_SHARED | VM_MAYSHARE)) {\n\t\treturn -EINVAL;',
    replace: '\t    (VM_SHARED | VM_MAYSHARE)) {\n\t\treturn vma->vm_flags & VM_WRITE ? -EINVAL : 0;',
    what: 'a read-only mapping with MAP_PRIVATE is accepted',
  },
  {
    name: 'mmap-executable',
    file: gmem,
    search: '\tkvm_gmem_mnt->mnt_flags |= MNT_NOEXEC;\n',
    replace: '',
    what: 'guest memory can be mapped executable',
  },
  // Binding
  {
    name: 'bind-signed-overflow',
    file: gmem,
    search: 'if (!PAGE_ALIGNED(offset) || offset + size > i_size_read(inode))',
    replace: 'if (!PAGE_ALIGNED(offset) || (loff_t)(offset + size) > i_size_read(inode))',
    what: 'a range whose end is negative as a signed number is bound (bug B4)',
  },
  {
    name: 'bind-one-page-beyond',
    file: gmem,
    search: 'if (!PAGE_ALIGNED(offset) || offset + size > i_size_read(inode))',
    replace: 'if (!PAGE_ALIGNED(offset) || offset + size > i_size_read(inode) + PAGE_SIZE)',
    what: 'a range that ends one page behind the file is bound',
  },
  {
    name: 'bind-foreign-vm',
    file: gmem,
    search: '\tif (f->kvm != kvm)\n\t\tgoto err;',
    replace: '\tif (!f->kvm)\n\t\tgoto err;',
    what: 'the guest_memfd of another VM is bound',
  },
  {
    name: 'bind-overlap-last-page',
    file: gmem,
    search:
      'xa_find(&f->bindings, &start, end - 1, XA_PRESENT)) {\n\t\tfilemap_invalidate_unlock(inode->i_mapping);\n\t\treturn -EEXIST;',
    replace:
      'xa_find(&f->bindings, &start, end - 2, XA_PRESENT)) {\n\t\tfilemap_invalidate_unlock(inode->i_mapping);\n\t\treturn -EEXIST;',
    what: 'a range whose last page is bound already is bound a second time',
  },
  {
    name: 'bind-neighbour-refused',
    file: gmem,
    search:
      'xa_find(&f->bindings, &start, end - 1, XA_PRESENT)) {\n\t\tfilemap_invalidate_unlock(inode->i_mapping);\n\t\treturn -EEXIST;',
    replace:
      'xa_find(&f->bindings, &start, end, XA_PRESENT)) {\n\t\tfilemap_invalidate_unlock(inode->i_mapping);\n\t\treturn -EEXIST;',
    what: 'a range right before one that is bound is refused',
  },
  {
    name: 'bind-not-gmem-only',
    file: gmem,
    search: '\tif (kvm_gmem_supports_mmap(inode))\n\t\tslot->flags |= KVM_MEMSLOT_GMEM_ONLY;\n',
    replace: '',
    what: 'shared accesses of the guest go to userspace_addr instead of a mappable file',
  },
  {
    name: 'bind-offset-ignored',
    file: gmem,
    search: 'return gfn - slot->base_gfn + slot->gmem.pgoff;',
    replace: 'return gfn - slot->base_gfn;',
    what: 'guest faults ignore the offset in the file',
  },
  {
    name: 'unbind-keeps-last-page',
    file: gmem,
    search:
      '\tfilemap_invalidate_lock(file->f_mapping);\n\txa_store_range(&f->bindings, start, end - 1, NULL, GFP_KERNEL);',
    replace:
      '\tfilemap_invalidate_lock(file->f_mapping);\n\txa_store_range(&f->bindings, start, max(start, end - 2), NULL, GFP_KERNEL);',
    what: 'deleting a memslot leaves the last page of its binding behind',
  },
  {
    name: 'release-zaps-first-page',
    file: gmem,
    search: '__kvm_gmem_invalidate_start(f, 0, -1ul,\n',
    replace: '__kvm_gmem_invalidate_start(f, 0, 1ul,\n',
    what: 'a closed file is taken from the guest only where its first page is bound',
  },
  {
    name: 'guest-fault-not-zeroed',
    file: gmem,
    search: '\t\tclear_highpage(folio_page(folio, 0));\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n#ifdef',
    replace: '\t\tfolio_mark_uptodate(folio);\n\t}\n\n#ifdef',
    what: 'a page that the guest touches first is not zeroed',
  },
  {
    name: 'policy-ignored',
    file: gmem,
    search: 'mapping_gfp_mask(inode->i_mapping), policy);',
    replace: 'mapping_gfp_mask(inode->i_mapping), NULL);',
    what: 'NUMA policies are kept and not followed',
  },
  {
    name: 'policy-not-kept',
    file: gmem,
    search: 'return mpol_set_shared_policy(&GMEM_I(inode)->policy, vma, mpol);',
    replace: 'return mpol ? 0 : mpol_set_shared_policy(&GMEM_I(inode)->policy, vma, mpol);',
    what: 'mbind succeeds and sets nothing',
  },
  // Memslots
  {
    name: 'slot-readonly',
    file: main,
    search: '\tif (kvm_arch_has_readonly_mem(kvm) &&\n\t    !(mem->flags & KVM_MEM_GUEST_MEMFD))',
    replace: '\tif (kvm_arch_has_readonly_mem(kvm))',
    what: 'a memslot with guest_memfd may be read-only (bug B14)',
  },
  {
    name: 'slot-set-again',
    file: main,
    search: '\t\tif (mem->flags & KVM_MEM_GUEST_MEMFD)\n\t\t\treturn -EINVAL;\n\t\tif ((mem->userspace_addr',
    replace:
      '\t\tif (mem->flags & ~old->flags & KVM_MEM_GUEST_MEMFD)\n\t\t\treturn -EINVAL;\n\t\tif ((mem->userspace_addr',
    what: 'a memslot with guest_memfd can be set again and moved',
  },
  {
    name: 'slot-overlap-last-page',
    file: main,
    search: 'kvm_check_memslot_overlap(slots, id, base_gfn, base_gfn + npages))',
    replace: 'kvm_check_memslot_overlap(slots, id, base_gfn, base_gfn + npages - 1))',
    what: 'a memslot may overlap the first page of the one behind it',
  },
  {
    name: 'slot-number',
    file: main,
    search: '\tif ((u16)mem->slot >= KVM_USER_MEM_SLOTS)\n\t\treturn -EINVAL;\n\n\tguard',
    replace: '\tif ((u16)mem->slot > KVM_USER_MEM_SLOTS)\n\t\treturn -EINVAL;\n\n\tguard',
    what: "the first of the kernel's own memslot numbers can be used",
  },
  {
    name: 'slot-host-address',
    file: main,
    search: '\tif ((mem->userspace_addr & (PAGE_SIZE - 1)) ||\n',
    replace: '\tif ((mem->userspace_addr & (PAGE_SIZE / 2 - 1)) ||\n',
    what: 'a host address in the middle of a page is accepted',
  },
  {
    name: 'slot-too-large',
    file: main,
    search: '(mem->memory_size >> PAGE_SHIFT) > KVM_MEM_MAX_NR_PAGES)',
    replace: '(mem->memory_size >> PAGE_SHIFT) > KVM_MEM_MAX_NR_PAGES + 1ul)',
    what: 'a memslot of 2^31 pages is accepted',
  },
  {
    name: 'vm-of-other-process',
    file: main,
    search:
      'static long kvm_vm_ioctl(struct file *filp,\n\t\t\t   unsigned int ioctl, unsigned long arg)\n{\n\tstruct kvm *kvm = filp->private_data;\n\tvoid __user *argp = (void __user *)arg;\n\tint r;\n\n\tif (kvm->mm != current->mm || kvm->vm_dead)',
    replace:
      'static long kvm_vm_ioctl(struct file *filp,\n\t\t\t   unsigned int ioctl, unsigned long arg)\n{\n\tstruct kvm *kvm = filp->private_data;\n\tvoid __user *argp = (void __user *)arg;\n\tint r;\n\n\tif (kvm->vm_dead)',
    what: 'a forked child can use the VM of its parent',
  },
  // Memory attributes
  {
    name: 'attributes-flags',
    file: main,
    search: '\tif (attrs->flags)\n\t\treturn -EINVAL;\n',
    replace: '',
    what: 'flags of KVM_SET_MEMORY_ATTRIBUTES are accepted',
  },
  {
    name: 'attributes-unknown',
    file: main,
    search: 'if (attrs->attributes & ~kvm_supported_mem_attributes(kvm))',
    replace: 'if (attrs->attributes && !(attrs->attributes & kvm_supported_mem_attributes(kvm)))',
    what: 'unknown attributes beside PRIVATE are accepted',
  },
  {
    name: 'attributes-wrap',
    file: main,
    search: 'if (attrs->size == 0 || attrs->address + attrs->size < attrs->address)',
    replace: 'if (attrs->size == 0)',
    what: 'a range that wraps is accepted',
  },
  {
    name: 'attributes-mixed-range',
    file: main,
    search: '\t\tif (!entry)\n\t\t\treturn !attrs;',
    replace: '\t\tif (!entry)\n\t\t\treturn !attrs || index > start;',
    what: 'a range that begins private counts as private already, so the rest of it is never converted',
  },
  {
    name: 'attributes-last-page',
    file: main,
    search: '\tfor (i = start; i < end; i++) {\n\t\tr = xa_err(xa_store(&kvm->mem_attr_array, i, entry,',
    replace:
      '\tfor (i = start; i < max(start + 1, end - 1); i++) {\n\t\tr = xa_err(xa_store(&kvm->mem_attr_array, i, entry,',
    what: 'the last page of a range is not converted',
  },
  {
    name: 'attributes-not-zapped',
    file: main,
    search: '\treturn kvm_arch_pre_set_memory_attributes(kvm, range);',
    replace: '\treturn false;',
    what: 'a conversion leaves the guest the pages that it has mapped',
  },
  {
    name: 'attributes-first-slot-only',
    file: main,
    search:
      '\t\t\tret |= range->handler(kvm, &gfn_range);\n\t\t}\n\t}\n\n\tif (range->flush_on_ret && ret)\n\t\tkvm_flush_remote_tlbs(kvm);\n\n\tif (found_memslot)\n\t\tKVM_MMU_UNLOCK(kvm);\n}\n\nstatic bool kvm_pre_set',
    replace:
      '\t\t\tret |= range->handler(kvm, &gfn_range);\n\t\t\tbreak;\n\t\t}\n\t}\n\n\tif (range->flush_on_ret && ret)\n\t\tkvm_flush_remote_tlbs(kvm);\n\n\tif (found_memslot)\n\t\tKVM_MMU_UNLOCK(kvm);\n}\n\nstatic bool kvm_pre_set',
    what: 'a conversion takes mapped pages from the guest in the first memslot only',
  },
  // Pre-faulting
  {
    name: 'pre-fault-flags',
    file: main,
    search: '\tif (range->flags)\n\t\treturn -EINVAL;\n',
    replace: '',
    what: 'flags of KVM_PRE_FAULT_MEMORY are accepted',
  },
  {
    name: 'pre-fault-partial',
    file: main,
    search: 'return full_size == range->size ? r : 0;',
    replace: 'return r < 0 ? r : 0;',
    what: 'a part that was done is reported as an error',
  },
  {
    name: 'pre-fault-wrong-side',
    file: mmu,
    search: '\t\terror_code |= PFERR_PRIVATE_ACCESS;\n\telse\n\t\tdirect_bits',
    replace: '\t\terror_code |= 0;\n\telse\n\t\tdirect_bits',
    what: 'private memory is pre-faulted as shared',
  },
  {
    name: 'pre-fault-deleted-slot',
    file: mmu,
    search: '\t\tif (fault->prefetch)\n\t\t\treturn -EAGAIN;\n\n\t\treturn RET_PF_RETRY;',
    replace: '\t\treturn RET_PF_RETRY;',
    what: 'pre-faulting retries for ever while a memslot is deleted (bug B11)',
  },
  // Guest faults and hypercalls
  {
    name: 'fault-exit-not-private',
    file: internal,
    search: '\t\t\t\t      PAGE_SIZE, fault->write, fault->exec,\n\t\t\t\t      fault->is_private);',
    replace: '\t\t\t\t      PAGE_SIZE, fault->write, fault->exec,\n\t\t\t\t      !fault->is_private);',
    what: 'MEMORY_FAULT tells shared for private',
  },
  {
    name: 'fault-no-slot-emulated',
    file: mmu,
    search:
      '\tif (fault->is_private) {\n\t\tkvm_mmu_prepare_memory_fault_exit(vcpu, fault);\n\t\treturn -EFAULT;\n\t}\n\n\tvcpu_cache_mmio_info',
    replace: '\tvcpu_cache_mmio_info',
    what: 'private memory without a memslot is emulated as MMIO',
  },
  {
    name: 'hypercall-no-pages',
    file: x86,
    search: 'if (!PAGE_ALIGNED(gpa) || !npages ||\n\t\t    gpa_to_gfn(gpa) + npages <= gpa_to_gfn(gpa)) {',
    replace: 'if (!PAGE_ALIGNED(gpa) ||\n\t\t    gpa_to_gfn(gpa) + npages < gpa_to_gfn(gpa)) {',
    what: 'a guest that asks for the conversion of no pages is not refused',
  },
  {
    name: 'hypercall-attributes-lost',
    file: x86,
    search: 'vcpu->run->hypercall.args[2]  = attrs;',
    replace: 'vcpu->run->hypercall.args[2]  = attrs & 0xf;',
    what: 'the exit does not tell whether the guest wants private memory',
  },
];
