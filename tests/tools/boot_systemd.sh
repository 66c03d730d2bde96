#!/usr/bin/env bash
# Boots this machine's own systemd, as root, in namespaces of its own: a second machine over the same
# files, which sees them and changes none (an overlay in memory). Ends, with all that runs in it, when it
# is killed; its mounts go with it.
#
#   tests/tools/boot_systemd.sh FOLDER      FOLDER is empty and becomes the root, from within alone
#   tests/tools/boot_systemd.sh --check     exit 3 and say why if that cannot be done here
set -euo pipefail

die() {
  printf 'boot_systemd: %s\n' "$1" >&2
  exit 3
}

((EUID == 0)) || die "needs root"
[[ -x /lib/systemd/systemd ]] || die "needs systemd: apt-get install systemd"
command -v unshare nsenter >/dev/null || die "needs util-linux"
grep -qw overlay /proc/filesystems || die "the kernel has no overlay file system"
unshare --mount --pid --cgroup --fork true 2>/dev/null || die "namespaces may not be made here"
[[ ${1:-} == --check ]] && exit 0

# A control group of its own, which looks like the root of all to it.
for groups in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
  [[ -e $groups/cgroup.procs ]] || continue
  mkdir -p "$groups/vram-tests-$$"
  echo $$ >"$groups/vram-tests-$$/cgroup.procs"
done

# shellcheck disable=SC2016
exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child --propagation private bash -euc '
  mount -t tmpfs tmpfs "$1"
  mkdir "$1/up" "$1/work" "$1/root"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
  cd "$1/root"
  mount -t proc proc proc
  mount -t sysfs -o ro sysfs sys
  if [[ -e /sys/fs/cgroup/cgroup.procs ]]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
  else
    mount -t tmpfs tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd systemd sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
  fi
  mount -t tmpfs tmpfs run
  mount -t tmpfs tmpfs tmp
  mount --rbind /dev dev
  hostname vram-tests
  exec chroot . /usr/bin/env -i container=vram-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --log-target=console --show-status=no systemd.unit=basic.target
' boot "$1"
