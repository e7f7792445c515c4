import './conversion/vm-memory.ts';

export { type AdviceCell, type AdviceRow, adviceTable, type Fit, type MemoryNeed } from './backends/advice-table.ts';
export { type Advice as MemoryAdvice, adviseMemoryBackend, type TypeAdvice } from './backends/advise.ts';
export { type AttachMode, Attachment, type AttachOptions } from './backends/attachment.ts';
export {
  type CreateOptions,
  createMemoryBackend,
  type Memdev,
  MemoryBackend,
  type MemoryBackendState,
} from './backends/backend.ts';
export { BackendError } from './backends/error.ts';
export { type LintFinding, lintCommandLine } from './backends/lint.ts';
export type { BackendNote } from './backends/note.ts';
export { formatObjectOption, parseObjectOption } from './backends/object-option.ts';
export type { Preallocated } from './backends/prealloc.ts';
export {
  type MemoryBackendFileProperties,
  type MemoryBackendMemfdProperties,
  type MemoryBackendOptions,
  type MemoryBackendProperties,
  type ObjectOptions,
  type PropertyRow,
  properties,
  type ThreadContextOptions,
  type ThreadContextProperties,
} from './backends/properties.ts';
export { createThreadContext, type ThreadContext } from './backends/thread-context.ts';
export { type MemoryBackendType, type ObjectType, objectTypes } from './backends/types.ts';
export { checkObjectOptions, checkObjects } from './backends/validate.ts';
export { ConversionError, type ConversionErrorCode, type GuestRange, type MemoryState } from './conversion/errors.ts';
export type { MemoryMap, MemoryMapOptions, MemorySegment } from './conversion/map.ts';
export {
  type ConversionWish,
  type ConvertOptions,
  GuestMemory,
  type MemoryEvent,
  type MemoryListener,
  memoryOf,
} from './conversion/memory.ts';
export { jsonMap, svgMap, textMap } from './conversion/render.ts';
export type { ConversionRequest } from './conversion/requests.ts';
export {
  type ConversionOutcome,
  type ConversionPolicy,
  GuestErrno,
  type ServeOptions,
  type Verdict,
} from './conversion/serve.ts';
export { type AgentRun, GuestAgent, type GuestAgentOptions, GuestExitError } from './guest/agent.ts';
export { checksum, type GuestCommand, type Width } from './guest/commands.ts';
export type { U64 } from './kvm/arguments.ts';
export { type Capabilities, capabilities } from './kvm/capabilities.ts';
export * from './kvm/constants.ts';
export { type ConversionAnswer, type ConversionModel, conversionModel } from './kvm/conversion-model.ts';
export type { AttributeRange } from './kvm/conversion-steps.ts';
export { errnoName, KvmError, MemoryAccessError } from './kvm/errors.ts';
export type * from './kvm/exits.ts';
export { GuestMemfd } from './kvm/guest-memfd.ts';
export { Kvm } from './kvm/kvm.ts';
export { type MapOptions, Mapping, mapAnonymous, type PolicyAt } from './kvm/mapping.ts';
export { type FileStat, MemoryFile } from './kvm/memory-file.ts';
export { pageSize } from './kvm/native.ts';
export type { PagePin } from './kvm/page-pin.ts';
export { type Populated, type PopulateOptions, populate } from './kvm/populate.ts';
export { guestProgram } from './kvm/program.ts';
export type { Range } from './kvm/range-map.ts';
export type {
  DescriptorTable,
  GeneralRegisters,
  Segment,
  SpecialRegisterChanges,
  SpecialRegisters,
} from './kvm/registers.ts';
export { type PreFaultProgress, type RunOptions, Vcpu } from './kvm/vcpu.ts';
export { type MemorySlot, type UserMemoryRegion, Vm } from './kvm/vm.ts';
