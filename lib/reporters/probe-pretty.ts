import type { Capabilities } from '../kvm/capabilities.ts';
import type { Feature } from '../probe/features.ts';
import type { Probe } from '../probe/probe.ts';
import type { Paint } from './style.ts';

const width = 80;
const labelWidth = 15;

const marks: Readonly<Record<Feature['status'], Parameters<Paint>[0]>> = {
  yes: 'green',
  no: 'yellow',
  ignored: 'magenta',
  unknown: 'cyan',
};

/** Breaks text at spaces; a word longer than a line gets one of its own. */
function wrap(text: string, room: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line && line.length + 1 + word.length > room) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return [...lines, line];
}

/** A label and its value, which goes on below itself; painted line by line, so that no colour covers a margin. */
function row(label: string, value: string, margin = 2, room = labelWidth, paint = (text: string) => text): string[] {
  return wrap(value, width - margin - room).map(
    (line, index) => ' '.repeat(margin) + paint((index === 0 ? label : '').padEnd(room) + line),
  );
}

const list = (items: readonly (string | number)[]) => (items.length > 0 ? items.join(', ') : 'none');

function hostLines({ host }: Probe): string[] {
  const vendor = host.cpuVendor ? ` (${host.cpuVendor})` : '';
  const virtualised = host.underHypervisor ? ', in a virtual machine' : '';
  return [
    ...row('processor', `${host.cpu}${vendor}, ${host.cpus} × ${host.architecture}${virtualised}`),
    ...(host.architecture === 'x64' ? row('virtualisation', host.virtualisation ?? 'neither vmx nor svm') : []),
    ...row('memory', `${(host.memoryBytes / 2 ** 30).toFixed(1)} GiB, pages of ${host.pageSize} bytes`),
    ...row('NUMA nodes', list(host.numaNodes)),
    ...row('huge pages', `transparent: ${host.transparentHugePages ?? 'not in this kernel'}`),
  ];
}

function kernelLines({ kernel }: Probe): string[] {
  const options = Object.entries(kernel.config.options);
  const set = options.filter(([, value]) => value !== 'n').map(([name, value]) => `${name}=${value}`);
  const unset = options.filter(([, value]) => value === 'n').map(([name]) => name);
  const parameters = Object.entries(kernel.parameters).map(([name, value]) => `${name}=${value}`);
  return [
    ...row('release', kernel.release),
    ...row('version', kernel.version),
    ...row(
      'configuration',
      kernel.config.source ?? 'cannot be read (/proc/config.gz, /boot/config-*, /lib/modules/*/config)',
    ),
    ...(kernel.config.source ? [...row('  set', list(set)), ...row('  not set', list(unset))] : []),
    ...row('modules', list(kernel.modules)),
    ...row('parameters', list(parameters)),
  ];
}

function kvmLines({ device, capabilities }: Probe, paint: Paint): string[] {
  const rights = device.exists ? ` (mode ${device.mode}, owner ${device.owner}, group ${device.group})` : '';
  const lines = row('device', `${device.path}${rights}`);
  lines.push(`  ${''.padEnd(labelWidth)}${device.usable ? paint('green', 'usable') : paint('yellow', 'not usable')}`);
  if (!capabilities) return lines;
  const { device: answers, vms } = capabilities;
  lines.push(
    ...row('API', `version ${answers.apiVersion}, ${answers.vcpuMmapSize} bytes for each vCPU's run area`),
    ...row('limits', `${answers.maxMemslots} memslots, ${answers.maxVcpus} vCPUs`),
    ...row('VM types', list(answers.vmTypes.map(({ type, name }) => `${name} (${type})`))),
  );
  const offers = (title: string, one: Capabilities) => [
    ...row(title, `guest_memfd: ${one.guestMemfd ? `flags ${list(one.guestMemfdFlags)}` : 'no'}`),
    ...row('', `memory attributes: ${list(one.memoryAttributes)}`),
  ];
  lines.push(...offers('some VM', answers));
  for (const [type, one] of Object.entries(vms)) lines.push(...offers(`VM of type ${type}`, one));
  return lines;
}

function featureLines({ device, features }: Probe, paint: Paint): string[] {
  const lines: string[] = [];
  // One cause stands for all when the device cannot be used.
  if (device.problem)
    lines.push(...row('cause', `${device.problem.cause}.`, 2, 9), ...row('remedy', `${device.problem.remedy}.`, 2, 9));
  for (const { status, title, detail, cause, remedy } of features) {
    lines.push(`  ${paint(marks[status], status.padEnd(7))}  ${title}`);
    if (device.problem || status === 'yes') continue;
    for (const [label, text] of Object.entries({ tried: detail, cause, remedy }))
      if (text) lines.push(...row(label, `${text}.`, 11, 8, (line) => paint('dim', line)));
  }
  return lines;
}

/** The report for a person, 80 columns wide, as text that ends in a newline. */
export function probePretty(report: Probe, paint: Paint): string {
  const groups: [title: string, lines: string[]][] = [
    ['Host', hostLines(report)],
    ['Kernel', kernelLines(report)],
    ['KVM', kvmLines(report, paint)],
    ['Features', featureLines(report, paint)],
  ];
  return groups.map(([title, lines]) => `${[paint('bold', title), ...lines].join('\n')}\n`).join('\n');
}
