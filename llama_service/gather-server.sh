#!/bin/sh
# Gathers a built llama-server and the libraries that it needs into ROOT/opt/llama.
#
#   gather-server.sh BIN_DIR ROOT            for an image that has its own C library and shell
#   gather-server.sh BIN_DIR ROOT --whole    for one that starts from nothing: with the C library,
#                                            busybox as the shell, and the directories it writes to
#
# Libraries of the C library come along only with --whole; the driver's never do: they belong to
# the host. Fails if something that is needed is neither here nor the driver's.
set -eu

bin=$1 root=$2 whole=${3:-}
home=$root/opt/llama
APPLETS="cat env grep head id ls sed sh sleep tr wget" # what our scripts run

die() {
    echo "gather-server: $1" >&2
    exit 1
}

[ -x "$bin/llama-server" ] || die "no llama-server in $bin"
mkdir -p "$home"
cp "$bin/llama-server" "$home/"
ldd "$bin/llama-server" | while read -r name arrow path _; do
    case $name in
        linux-vdso.so.*) continue ;; # the kernel's, not a file
        libcuda.so.* | libnvidia-*) continue ;; # the driver's
        /*) path=$name ;;                        # the loader is named by its path
    esac
    [ "$arrow $path" != "=> not" ] || die "$name is needed and not found"
    [ -e "$path" ] || continue
    case ${name##*/} in
        ld-linux*.so.* | libc.so.* | libm.so.* | libpthread.so.* | libdl.so.* | librt.so.*)
            [ -n "$whole" ] || continue
            mkdir -p "$root${path%/*}"
            cp -L "$path" "$root$path"
            ;;
        *) [ -e "$home/$name" ] || cp -L "$path" "$home/$name" ;;
    esac
done
[ -n "$whole" ] || exit 0

busybox=$(command -v busybox) || die "no busybox: apt-get install busybox-static"
! ldd "$busybox" >/dev/null 2>&1 || die "$busybox needs libraries: apt-get install busybox-static"
mkdir -p "$root/bin" "$root/etc" "$root/models" "$root/hf-cache" "$root/tmp"
chmod 1777 "$root/tmp" "$root/hf-cache" # whoever the container runs as
cp -L "$busybox" "$root/bin/busybox"
for each in $APPLETS; do
    ln -sf busybox "$root/bin/$each"
done
echo 'nobody:x:65534:65534:nobody:/tmp:/bin/sh' >"$root/etc/passwd"
echo 'nogroup:x:65534:' >"$root/etc/group"
