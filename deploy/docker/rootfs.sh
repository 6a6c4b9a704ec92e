#!/bin/sh
# rootfs.sh EXECUTABLE DIRECTORY: lays out in DIRECTORY the whole file system of the scratch image: the executable, the loader
# and the C libraries that it names, and four small files of configuration. The libraries are this machine's, so it runs on
# the distribution that the image is to be made of. The CA bundle is inside the executable; there is no shell and no /tmp.
set -eu
executable=$1
root=$2

mkdir -p "$root/proc" "$root/dev" "$root/sys" "$root/etc/route-gateway" "$root/config.signing" "$root/config.payload"
install -D -m 0755 "$executable" "$root/usr/local/bin/route-gateway"

# ldd prints "name => /path (address)" and, for the loader, "/path (address)"; the kernel's vdso has no path.
ldd "$executable" | grep -o '/[^ ]*' | sort -u | while read -r library; do
  install -D -m 0755 "$(readlink -f "$library")" "$root$library"
done

# Names are looked up in /etc/hosts, then by DNS. Both are built into glibc 2.34 and later: no libnss_* file is needed.
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > "$root/etc/passwd"
echo 'nonroot:x:65532:' > "$root/etc/group"
# A container engine puts its own in place of these two.
echo '127.0.0.1 localhost' > "$root/etc/hosts"
: > "$root/etc/resolv.conf"
