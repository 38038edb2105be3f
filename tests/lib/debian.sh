# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # build.sh assigns
#
# Roots of a fresh Debian, by debootstrap. After packages.sh and build.sh.

debian_suite=bookworm
debian_checkout=/usr/src/mountatd # in the roots
# The package cache of debootstrap and of apt in the roots: each package is downloaded once. apt doesn't wait
# for another's lock, so scripts that run at the same time need one each.
debian_archives=${debian_archives:-$repository/build/archives}

# Sets debian_mirror.
debian_find_mirror() {
        debian_mirror=$(packages_mirror "$debian_suite")
        # If only apt's configuration has a proxy, debootstrap and the roots don't know it.
        if [[ ! ${http_proxy:-} ]]; then
                eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
        fi
        export http_proxy=${http_proxy:-}
}

# debian_make ROOT: a root of debian_suite with only what debootstrap installs. Needs debian_mirror.
debian_make() {
        local log=$build_logs/debootstrap.log

        mkdir -p "$debian_archives" "$build_logs"
        if ! debootstrap --variant=minbase --cache-dir="$debian_archives" "$debian_suite" "$1" \
                "$debian_mirror" >"$log" 2>&1; then
                tail -n 20 "$log"
                return 1
        fi
}

# debian_add_checkout ROOT: as it is here, committed or not, but for what was built; and the machine's
# way to the network, which may lead through a proxy that is its own authority.
debian_add_checkout() {
        cp --dereference /etc/resolv.conf /etc/hosts "$1/etc"
        cp --archive --parents /usr/local/share/ca-certificates "$1" 2>/dev/null || true
        # Where the mirror stands still, its lists expire.
        apt-config dump Acquire::Check-Valid-Until >"$1/etc/apt/apt.conf.d/mirror"
        mkdir -p "$1$debian_checkout"
        tar --create --directory="$repository" --exclude=./build --exclude=./.git . |
                tar --extract --directory="$1$debian_checkout"
}

# debian_run ROOT COMMAND…: as PID 1 of a machine that boots from there, which waits for the command;
# in namespaces that end with it.
debian_run() {
        # shellcheck disable=SC2016 # for the shell in there
        unshare --mount --propagation private --pid --fork --kill-child -- \
                env --ignore-environment repository="$repository" \
                debian_archives="$debian_archives" http_proxy="$http_proxy" \
                HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
                bash -e -c '. "$repository/tests/lib/debian.sh"; debian_enter "$@"' debian "$@"
}

# Not by chroot, in which the kernel makes no user namespace.
debian_enter() {
        local root=$1

        shift
        mount --bind "$root" "$root"
        mount --bind /dev "$root/dev"
        mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        mount -t proc proc "$root/proc"
        mount -t sysfs sysfs "$root/sys"
        mount -t tmpfs -o mode=0755 tmpfs "$root/run"
        mount --bind "$debian_archives" "$root/var/cache/apt/archives"
        unset repository debian_archives
        cd "$root" || return 1
        pivot_root . .
        umount --lazy .
        cd /
        "$@"
}
