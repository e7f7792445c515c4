// The fuzzer, the workers and the endless rounds where there is a KVM. Runs inside a lab machine, as test/lab/library.mjs does;
// test/fuzz and test/endurance lie beside it there.

const library = 'file:///gmem/dist/index.js';

/** Seconds of play. The machine is emulated: what takes a millisecond elsewhere takes a hundred there. */
const seconds = 60;

/** Sequences of the game: what a busy machine has time for, so that it is the same ones nearly everywhere. */
const sequences = 300;

function test(name, run) {
  return { name: `unbreakable/${name}`, title: name, since: '', run };
}

/** What is made of /dev/kvm, and what makes it: the rest is played with where nothing is emulated. */
const needsKvm =
  /^(?:(?:new )?(?:Kvm|Vm|Vcpu|GuestAgent|GuestMemory|GuestMemfd|Attachment)\b|memoryOf|MemoryBackend\.prototype\.attach)/;

async function fuzz(check) {
  const { player } = await import('/gmem/test/fuzz/player.mjs');
  const failures = [];
  let end;
  const tell = (message) => {
    if (message.type === 'failure') failures.push(`sequence ${message.sequence}: ${message.reason}\n${message.steps}`);
    if (message.type === 'end') end = message;
  };
  const one = await player({ library, tell, favoured: needsKvm, group: 10 });
  if (!one.hasKvm) throw new Error('there is no KVM in this machine');
  const seed = 1;
  await one.play({ seed, first: 0, count: sequences, until: performance.now() + seconds * 1000 });
  const returned = Object.entries(end.calls).filter(([, call]) => call.returned > 0);
  const sum = (list) => list.reduce((total, [, call]) => total + call.returned, 0);
  const kvm = returned.filter(([name]) => needsKvm.test(name));
  check.note?.(
    `${end.played} sequences from seed ${seed}: ${sum(returned)} calls came back, ${sum(kvm)} of ${kvm.length} kinds with KVM`,
  );
  if (failures.length > 0) throw new Error(failures.join('\n\n'));
  if (end.played < 20) throw new Error(`only ${end.played} sequences were played`);
}

async function rounds(check) {
  const { endure } = await import('/gmem/test/endurance/rounds.mjs');
  const g = await import(library);
  const { rounds, kvm, problems, looks } = await endure(g, 2000, undefined, performance.now() + seconds * 1000);
  check.note?.(`${rounds} rounds with a guest; at the end ${JSON.stringify(looks.at(-1))}`);
  if (!kvm) throw new Error('there is no KVM in this machine');
  if (problems.length > 0) throw new Error(`${problems.join(', ')} after ${rounds} rounds`);
}

async function workers(check) {
  const { endWorkers } = await import('/gmem/test/endurance/workers.mjs');
  const { terminated, faults, kvm, problems } = await endWorkers(library, 12, 2500);
  check.note?.(`${terminated} workers ended while their vCPUs ran, ${faults} faults handled`);
  if (!kvm) throw new Error('no worker had a vCPU');
  if (problems.length > 0) throw new Error(problems.join(', '));
}

export const checks = [
  test('workers end while their vCPUs run', workers),
  test('nothing piles up', rounds),
  test('no call in any order does harm', fuzz),
];
