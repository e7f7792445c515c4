// Writes the tables of docs/checks.md from the catalogue (dist/): npm run build:ts first. A unit test compares them.
import { readFileSync, writeFileSync } from 'node:fs';
import { checks } from '../dist/smoke/catalogue.js';

/** The kernel's subtests, by the ids that this project gave them. */
const subtests = [
  ['G1', 'guest_memfd_test: guest_memfd_flags'],
  ['G2', 'guest_memfd_test: create_multiple'],
  ['G3', 'guest_memfd_test: invalid sizes'],
  ['G4', 'guest_memfd_test: file_read_write'],
  ['G5', 'guest_memfd_test: mmap_supported'],
  ['G6', 'guest_memfd_test: fault_overflow'],
  ['G7', 'guest_memfd_test: numa_allocation'],
  ['G8', 'guest_memfd_test: collapse'],
  ['G9', 'guest_memfd_test: fault_private'],
  ['G10', 'guest_memfd_test: mmap_cow'],
  ['G11', 'guest_memfd_test: mbind'],
  ['G12', 'guest_memfd_test: mmap_not_supported'],
  ['G13', 'guest_memfd_test: file_size'],
  ['G14', 'guest_memfd_test: fallocate'],
  ['G15', 'guest_memfd_test: invalid_punch_hole'],
  ['G16', 'guest_memfd_test: invalid_binding'],
  ['G17', 'guest_memfd_test: guest'],
  ['M1', 'set_memory_region_test: invalid flags'],
  ['M2', 'set_memory_region_test: add_private_memory_region'],
  ['M3', 'set_memory_region_test: overlapping private regions'],
  ['M4', 'set_memory_region_test: zero regions, most memslots, move and delete in use'],
  ['P1', 'private_mem_conversions_test: explicit conversion'],
  ['P2', 'private_mem_conversions_test: explicit conversion with fallocate'],
  ['P3', 'private_mem_conversions_test: punch_hole'],
  ['P4', 'private_mem_conversions_test: guest_memfd outlives its VM'],
  ['P5', 'private_mem_conversions_test: several vCPUs and memslots'],
  ['K1', 'private_mem_kvm_exits_test: memslot deleted'],
  ['K2', 'private_mem_kvm_exits_test: memslot without guest_memfd'],
  ['F1', 'pre_fault_memory_test: default VM, also beside deletions of the memslot'],
  ['F2', 'pre_fault_memory_test: shared memory of a private VM'],
  ['F3', 'pre_fault_memory_test: private memory'],
  ['V1', 'vm_types_test'],
  ['C1', 'guest_memfd_conversions_test (under review): init_private'],
  ['C2', 'guest_memfd_conversions_test (under review): init_shared'],
  ['C3', 'guest_memfd_conversions_test (under review): indexing'],
  ['C4', 'guest_memfd_conversions_test (under review): before_allocation_shared'],
  ['C5', 'guest_memfd_conversions_test (under review): before_allocation_private'],
  ['C6', 'guest_memfd_conversions_test (under review): unallocated_folios'],
  ['C7', 'guest_memfd_conversions_test (under review): truncate'],
  ['C8', 'guest_memfd_conversions_test (under review): forked_accesses'],
  ['C9', 'guest_memfd_conversions_test (under review): elevated_refcount'],
];

const quoted = (found) => found.map(({ name }) => `\`${name}\``).join(', ');

const tables = {
  upstream: [
    '| id | upstream subtest | checks |',
    '| --- | --- | --- |',
    ...subtests.map(
      ([id, text]) => `| ${id} | ${text} | ${quoted(checks.filter((one) => one.upstream?.includes(id)))} |`,
    ),
  ],
  errno: [
    '| check | what must be refused, and with which errno |',
    '| --- | --- |',
    ...checks.filter(({ name }) => name.startsWith('errno/')).map(({ name, title }) => `| \`${name}\` | ${title} |`),
  ],
  stress: [
    '| check | what must hold |',
    '| --- | --- |',
    ...checks.filter(({ stress }) => stress).map(({ name, title }) => `| \`${name}\` | ${title} |`),
  ],
};

const path = new URL('../docs/checks.md', import.meta.url);
let text = readFileSync(path, 'utf8');
for (const [name, lines] of Object.entries(tables))
  text = text.replace(
    new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- end -->)`),
    (_, begin, end) => `${begin}\n${lines.join('\n')}\n\n${end}`,
  );
writeFileSync(path, text);
