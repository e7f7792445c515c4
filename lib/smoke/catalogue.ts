import { adviceChecks } from './checks/advice.ts';
import { bindingChecks } from './checks/binding.ts';
import { bindingLifetimeChecks } from './checks/binding-lifetime.ts';
import { conversionChecks } from './checks/conversion.ts';
import { conversionEdgeChecks } from './checks/conversion-edge.ts';
import { descriptorChecks } from './checks/descriptor.ts';
import { fileErrnoChecks } from './checks/errno-file.ts';
import { memoryErrnoChecks } from './checks/errno-memory.ts';
import { memslotErrnoChecks } from './checks/errno-memslot.ts';
import { fileChecks } from './checks/file.ts';
import { guestChecks } from './checks/guest.ts';
import { hostAccessChecks } from './checks/host-access.ts';
import { hostMappingChecks } from './checks/host-mapping.ts';
import { inPlaceChecks } from './checks/in-place.ts';
import { memoryFaultChecks } from './checks/memory-fault.ts';
import { memoryRegionChecks } from './checks/memory-region.ts';
import { memslotChecks } from './checks/memslot.ts';
import { numaChecks } from './checks/numa.ts';
import { preFaultChecks, vmTypeChecks } from './checks/pre-fault.ts';
import { runningGuestChecks } from './checks/running-guest.ts';
import type { Check } from './model.ts';
import { stressChecks } from './stress/checks.ts';

/** Every check of the suite, in the order in which they run. */
export const checks: readonly Check[] = [
  ...fileChecks,
  ...descriptorChecks,
  ...hostMappingChecks,
  ...hostAccessChecks,
  ...adviceChecks,
  ...bindingChecks,
  ...bindingLifetimeChecks,
  ...memoryRegionChecks,
  ...memslotChecks,
  ...fileErrnoChecks,
  ...memslotErrnoChecks,
  ...memoryErrnoChecks,
  ...guestChecks,
  ...runningGuestChecks,
  ...conversionChecks,
  ...inPlaceChecks,
  ...conversionEdgeChecks,
  ...memoryFaultChecks,
  ...preFaultChecks,
  ...vmTypeChecks,
  ...numaChecks,
  ...stressChecks,
];
