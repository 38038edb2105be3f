#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# From the release before this one to this one in place, by their packages, with leases held, on a
# machine of its own where systemd is PID 1. Needs root; prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/root.sh"
. "$tests/packaging/systemd/machine.sh"
. "$tests/packaging/systemd/install.sh"
. "$tests/packaging/systemd/socket.sh"
. "$tests/packaging/systemd/death.sh"
. "$tests/packaging/systemd/upgrade.sh"

clean_up() {
        machine_stop
        build_give_back
}

# project_version SOURCES
project_version() {
        sed -nE 's/^project\(mountatd VERSION ([0-9.]+) .*/\1/p' "$1/CMakeLists.txt"
}

root_enter_namespace "$@"
packages_install build package systemd

reason=$(build_previous_why_not)
reason=${reason:-$(machine_why_not)}
if [[ $reason ]]; then
        tap_skip "an upgrade of the package" "$reason"
        tap_done
        exit
fi
build_make_deb -DMOUNTATD_RUNNER=OFF
build_make_previous_deb
version=$(project_version "$repository")
previous_version=$(project_version "$build_previous")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
machine_start
upgrade_prepare

tap_test "the release before this one installs" previous_installs
tap_test "leases are held in each way that it has" leases_are_held
tap_test "this release installs, and nothing is unmounted" this_release_installs
tap_test "each lease is still its holder's" leases_are_held_still
tap_test "who holds a lease releases it" leases_are_released
tap_test "edited options are kept" options_are_kept
tap_test "a /dev can be mounted" dev_is_new
tap_test "a program that was linked before starts" linked_program_starts
tap_test "the way back is by a stop" previous_is_back
tap_test "an option that is gone keeps this release from starting" removed_option_is_refused
tap_test "without it, the leases of before are held" removed_option_is_taken_out
tap_test "purging the packages leaves neither mount nor file" purging_leaves_nothing
tap_done
