import { VmType } from '../kvm/constants.ts';
import type { Feature } from '../probe/features.ts';
import type { ProbeReport } from '../probe/probe.ts';
import type { Paint } from './style.ts';

const marks: Record<Feature['status'], [text: string, format: Parameters<Paint>[0]]> = {
  yes: ['yes', 'green'],
  no: ['no', 'yellow'],
  ignored: ['ignored', 'magenta'],
  unknown: ['unknown', 'cyan'],
};

function list(items: readonly (string | number)[]): string {
  return items.length > 0 ? items.join(', ') : 'none';
}

function vmTypeName(type: string): string {
  return Object.entries(VmType).find(([, number]) => String(number) === type)?.[0] ?? 'unknown';
}

/** The report for a person, as text that ends in a newline. */
export function probePretty(report: ProbeReport, paint: Paint): string {
  const { host, kernel, device, capabilities, features } = report;
  const row = (name: string, value: string) => `  ${name.padEnd(14)}${value}`;
  const lines = [
    paint('bold', 'Host'),
    row(
      'processor',
      `${host.cpu}, ${host.cpus} × ${host.architecture}${host.underHypervisor ? ', in a virtual machine' : ''}`,
    ),
    row(
      'memory',
      `${(host.memoryBytes / 2 ** 30).toFixed(1)} GiB, pages of ${host.pageSize}, NUMA nodes ${list(host.numaNodes)}`,
    ),
    row('huge pages', host.transparentHugePages ?? 'not in this kernel'),
    '',
    paint('bold', 'Kernel'),
    row('release', kernel.release),
    row('configuration', kernel.config.source ?? 'not readable here (/proc/config.gz, /boot)'),
  ];
  const set = Object.entries(kernel.config.options).filter(([, value]) => value !== 'n');
  if (kernel.config.source) lines.push(row('', list(set.map(([name, value]) => `${name}=${value}`))));
  lines.push(row('modules', list(kernel.modules)));
  for (const [name, value] of Object.entries(kernel.parameters)) lines.push(row('', `${name}=${value}`));
  lines.push('', paint('bold', 'KVM'));
  const rights = device.exists ? ` (mode ${device.mode}, group ${device.group})` : '';
  lines.push(row('device', `${device.path}${rights}: ${device.usable ? 'usable' : paint('yellow', 'not usable')}`));
  if (capabilities) {
    for (const [type, vm] of Object.entries(capabilities.vms)) {
      lines.push(
        row(`VM type ${type}`, vmTypeName(type)),
        row('', `guest_memfd flags: ${list(vm.guestMemfdFlags)}; attributes: ${list(vm.memoryAttributes)}`),
      );
    }
    const { device: answers } = capabilities;
    lines.push(row('limits', `${answers.maxMemslots} memslots, ${answers.maxVcpus} vCPUs`));
  }
  lines.push('', paint('bold', 'Features'));
  // One cause stands for all when the device cannot be used.
  if (device.problem) lines.push(`  ${device.problem.cause}.`, `  ${device.problem.remedy}.`);
  for (const feature of features) {
    const [mark, format] = marks[feature.status];
    lines.push(`  ${paint(format, mark.padEnd(8))} ${feature.title}`);
    if (feature.cause && !device.problem)
      lines.push(paint('dim', `           ${feature.cause}.`), paint('dim', `           ${feature.remedy}.`));
  }
  return `${lines.join('\n')}\n`;
}
