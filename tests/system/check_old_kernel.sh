#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# What depends on the kernel's version, from the dev build, and the units, on the distribution's own
# kernel, which in Debian 12 is 6.1: no statmount, no unique mount ids, no clones of detached mounts.
# In a machine of qemu's with systemd as PID 1; see tests/lib/machine.sh. Prints TAP.
#
# Run are the modules over the real kernel, the client in a namespace, and system/ and faults/; not
# crowds, the bus's own ways, nor what waits for time to pass, which are the same on each kernel.
#
# The package of another kernel can be named, with the suite of Debian's that it is in, and what is
# wanted of the programs: by parts of names, and after a minus by the name of one that isn't:
#
#   sudo MOUNTATD_KERNEL=linux-image-amd64/bookworm-backports \
#           tests/system/check_old_kernel.sh check_daemon_join check_run_join
#   sudo tests/system/check_old_kernel.sh faults/ -faults/check_floods

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/machine.sh"
. "$tests/lib/tap.sh"

kernel=${MOUNTATD_KERNEL:-linux-image-amd64}
filters=(
        units unit/daemon/check_{kernel,superblock_shown,target,instance,privilege,seccomp,state}
                unit/client/check_connection_enter
        system/ -system/check_{daemon_crowd,daemon_lifecycle,survival,bus,polkit,ctl,run_dev}
        faults/ -faults/check_{floods,isolation}
)
if (($# > 0)); then
        filters=("$@")
fi
machines=$repository/build/machine
seconds_max=1100

# Gives up, with the one line of TAP that says why.
skip_all() {
        tap_skip "the tests on $kernel" "$1"
        tap_done
        exit 0
}

# Sets package: that of the kernel.
require_packages() {
        if [[ ! $(command -v apt-get) ]]; then
                skip_all "impossible here: the kernel is a package of Debian's, and there is no apt"
        fi
        if ! packages_install build test machine >&2; then
                skip_all "qemu can't be installed"
        fi
        if [[ $kernel == */* ]]; then
                packages_use_suite "${kernel#*/}" "$machines/apt/${kernel#*/}"
                apt-get "${packages_apt_options[@]}" update >&2 ||
                        skip_all "Debian's ${kernel#*/} can't be reached"
        fi
        if ! package=$(machine_package "${kernel%%/*}"); then
                skip_all "impossible here: there is no package $kernel"
        fi
}

# The machine that runs the suite, in $directory.
make_machine() {
        directory=$machines/$package
        if [[ ! -e $directory/vmlinuz ]] && ! machine_fetch "$package" "$directory" >&2; then
                skip_all "$package can't be downloaded"
        fi
        machine_make "$directory" "$tests/system/machine/suite ${filters[*]}"
}

# By hardware where there is some that works, or it is emulated.
start_machine() {
        if [[ -w /dev/kvm ]]; then
                machine_start "$directory" kvm host
                if machine_has_begun "$directory" 30; then
                        return 0
                fi
                echo "# /dev/kvm is there, but no machine starts with it"
                machine_stop
        fi
        machine_start "$directory" tcg,thread=multi max
        machine_has_begun "$directory" 300
}

# What the machine has told is TAP already, but for the end if it hasn't come to it.
finish() {
        tap_count=$(grep -cE '^(not )?ok ' "$directory/report" || true)
        tap_not_ok "the machine runs every program: $1"
        tail -n 50 "$directory/console" "$directory/qemu.log" | sed 's/^/# /'
        tap_done
        exit 1
}

trap machine_stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
require_packages
build_make dev
build_make_package
make_machine

start_machine || finish "it doesn't start"
machine_watch "$directory" "$seconds_max" || finish "it takes longer than $seconds_max s"
grep -q '^1\.\.' "$directory/report" || finish "it ended before"
! grep -q '^not ok ' "$directory/report"
