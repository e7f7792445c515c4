#!/bin/sh
# For `git bisect run` in a kernel tree: builds the revision, boots it in the lab, runs one check. No /dev/kvm is needed.
#
#   git bisect start BAD GOOD
#   CHECK=guest/punch-shared git bisect run …/recipes/bisect/bisect.sh
#
# BUILD   what builds the kernel (default: make with all processors)
# IMAGE   the image that it makes (default: x86-64's)
# GMEM    the command (default: gmem)
#
# 0 good, 1 bad, 125 this revision cannot be told: it does not build, does not boot, or skips the check; 128 the lab is broken,
# at which the bisection stops. The .config must have what docs/lab.md names, with KVM built in.
set -u
: "${CHECK:?the check to bisect by, as guest/punch-shared; gmem smoke --list shows them}"
IMAGE="${IMAGE:-arch/x86/boot/bzImage}"

# Of a configuration from another revision, new options get their defaults.
sh -c "${BUILD:-make olddefconfig && make -j$(nproc) bzImage}" || exit 125
[ -e "$IMAGE" ] || exit 125
exec ${GMEM:-gmem} lab run --kernel "$IMAGE" --bisect "$CHECK"
