#!/bin/sh
# The suite in a kernel tree that virtme-ng boots, on this machine's KVM: faster than the lab's emulation, and needs nested
# virtualisation (kvm_intel or kvm_amd with nested=1). The guest sees this machine's files, so gmem is there already.
#
#   …/recipes/virtme-ng/run.sh [PATTERN…]
#
# GMEM    the command (default: gmem)
# OUT     the result (default: guest-memfd.json in this folder)
#
# Ends with gmem's exit status; 255 is a kernel that panicked, 124 one that hung: virtme-ng itself waits for ever.
set -eu
OUT="$(realpath "${OUT:-guest-memfd.json}")"
folder="$(dirname "$OUT")"
command="${GMEM:-gmem} smoke --reporter pretty --reporter json='$OUT'"
for pattern in "$@"; do command="$command '$pattern'"; done

exec timeout --foreground 600 \
  vng --run . --cpus 2 --memory 2G --numa 1G,cpus=0 --numa 1G,cpus=1 --qemu-opts='-cpu host' --rwdir "$folder" -- "$command"
