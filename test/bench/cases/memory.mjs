// Guest memory from JavaScript. A memfd is mapped as a guest_memfd is, so these need no KVM.
import { createMemoryBackend, MemoryFile } from 'guest-memfd';
import { Qemu } from '../qemu.mjs';

const page = 4096;
const MiB = 2 ** 20;

function memfd(size) {
  const file = MemoryFile.memfd();
  file.resize(size);
  return file;
}

/** A memfd of so many bytes, and all of it mapped. */
function mapped(size) {
  const file = memfd(size);
  const mapping = file.map();
  return {
    file,
    mapping,
    close() {
      mapping.close();
      file.close();
    },
  };
}

/** read() or write() of so many bytes against memcpy(). */
const copy = (direction, length, shown, bar) => ({
  name: `${direction}-${shown.replace(' ', '').toLowerCase()}`,
  title: `mapping.${direction} ${shown}`,
  bars: [bar],
  open({ baseline }) {
    const { mapping, close } = mapped(length);
    const bytes = new Uint8Array(length).fill(1);
    mapping.fill(2);
    return {
      contestants: {
        ours:
          direction === 'read'
            ? (operations) => {
                for (let i = 0; i < operations; i++) mapping.read(0, bytes);
              }
            : (operations) => {
                for (let i = 0; i < operations; i++) mapping.write(0, bytes);
              },
        memcpy: baseline.contestant(direction, length),
      },
      close,
    };
  },
});

const copies = ['read', 'write'].flatMap((direction) => [
  copy(direction, 64, '64 B', { against: 'memcpy', as: 'over', most: 60 }),
  copy(direction, 4096, '4 KiB', { against: 'memcpy', most: 1.3 }),
  copy(direction, MiB, '1 MiB', { against: 'memcpy', most: 1.03 }),
]);

const sum = (words) => {
  let total = 0;
  for (let i = 0; i < words.length; i++) total = (total + words[i]) | 0;
  return total;
};

const viewLoop = {
  name: 'view-loop',
  title: 'sum over a view of 64 MiB',
  bars: [{ against: 'ArrayBuffer', most: 1.02 }],
  open({ quick }) {
    const length = quick ? 4 * MiB : 64 * MiB;
    const { mapping, close } = mapped(length);
    const view = new Uint32Array(mapping.view());
    const own = new Uint32Array(length / 4);
    // Written, so that either has pages of its own.
    view.fill(1);
    own.fill(1);
    const contestant = (words) => (operations) => {
      for (let i = 0; i < operations; i++) if (sum(words) !== length / 4) throw new Error('a wrong sum');
    };
    return {
      contestants: { ours: contestant(view), ArrayBuffer: contestant(own) },
      close,
    };
  },
};

/** File calls as those of a guest_memfd, on a memfd: what the package itself costs around them. */
const fileCalls = [
  {
    name: 'memfd-create-close',
    title: 'MemoryFile.memfd + resize + close',
    bars: [{ against: 'C', most: 1.25 }],
    open: ({ baseline }) => ({
      contestants: {
        ours(operations) {
          for (let i = 0; i < operations; i++) memfd(page).close();
        },
        C: baseline.contestant('memfd-create-close', page),
      },
    }),
  },
  {
    name: 'memfd-map-close',
    title: 'map + close of 64 KiB of a memfd',
    bars: [{ against: 'C', most: 1.25 }],
    open({ baseline }) {
      const length = 16 * page;
      const file = memfd(length);
      return {
        contestants: {
          ours(operations) {
            for (let i = 0; i < operations; i++) file.map({ length }).close();
          },
          C: baseline.contestant('memfd-map-close', length),
        },
        close: () => file.close(),
      };
    },
  },
  {
    name: 'memfd-punch-touch',
    title: 'punch 1 page of a memfd + touch it',
    bars: [{ against: 'C', most: 1.25 }],
    open({ baseline }) {
      const { file, mapping, close } = mapped(page);
      const view = new Uint8Array(mapping.view());
      return {
        contestants: {
          ours(operations) {
            for (let i = 0; i < operations; i++) {
              file.punchHole(0, page);
              view[0] = 1;
            }
          },
          C: baseline.contestant('memfd-punch-touch'),
        },
        close,
      };
    },
  },
];

const prealloc = {
  name: 'prealloc',
  title: 'prealloc of a memfd backend, 2 threads',
  bars: [
    { against: 'C', most: 1.05 },
    { against: 'QEMU', most: 1 },
  ],
  async open({ baseline, size }) {
    const { qemu, absent } = await Qemu.start();
    const options = {
      'qom-type': 'memory-backend-memfd',
      id: 'ram0',
      size,
      prealloc: true,
      'prealloc-threads': 2,
      share: true,
    };
    return {
      contestants: {
        async ours() {
          const start = performance.now();
          const backend = await createMemoryBackend(options);
          const took = performance.now() - start;
          backend.close();
          return took * 1e6;
        },
        C: baseline.contestant('prealloc', size),
        ...(qemu ? { QEMU: () => qemu.addAndDelete(options) } : {}),
      },
      operations: 1,
      absent: absent ? [`QEMU: ${absent}`] : [],
      note: `${size / MiB} MiB`,
      close: () => qemu?.close(),
    };
  },
};

export const cases = [...copies, viewLoop, ...fileCalls, prealloc];
