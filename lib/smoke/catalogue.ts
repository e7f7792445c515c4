import { bindingChecks } from './checks/binding.ts';
import { conversionChecks } from './checks/conversion.ts';
import { fileChecks } from './checks/file.ts';
import { guestChecks } from './checks/guest.ts';
import { hostMappingChecks } from './checks/host-mapping.ts';
import { inPlaceChecks } from './checks/in-place.ts';
import { memoryFaultChecks } from './checks/memory-fault.ts';
import { memoryRegionChecks } from './checks/memory-region.ts';
import { numaChecks } from './checks/numa.ts';
import { preFaultChecks, vmTypeChecks } from './checks/pre-fault.ts';
import type { Check } from './model.ts';

/** Every check of the suite, in the order in which they run. */
export const checks: readonly Check[] = [
  ...fileChecks,
  ...hostMappingChecks,
  ...bindingChecks,
  ...memoryRegionChecks,
  ...guestChecks,
  ...conversionChecks,
  ...inPlaceChecks,
  ...memoryFaultChecks,
  ...preFaultChecks,
  ...vmTypeChecks,
  ...numaChecks,
];
