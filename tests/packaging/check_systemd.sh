#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The package on a machine where systemd is PID 1, as its administrator sees it. Needs root; prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/root.sh"
. "$tests/lib/go.sh"
. "$tests/lib/buildbarn.sh"
. "$tests/packaging/systemd/machine.sh"
. "$tests/packaging/systemd/install.sh"
. "$tests/packaging/systemd/socket.sh"
. "$tests/packaging/systemd/buildbarn.sh"
. "$tests/packaging/systemd/runner.sh"
. "$tests/packaging/systemd/bus.sh"
. "$tests/packaging/systemd/death.sh"
. "$tests/packaging/systemd/unit.sh"

clean_up() {
        machine_stop
        build_give_back
}

root_enter_namespace "$@"
packages_install build package systemd buildbarn
packages_install demo || true
go_prepare_runner
build_make_deb "$runner_option"
version=$(sed -nE 's/^project\(mountatd VERSION ([0-9.]+) .*/\1/p' "$repository/CMakeLists.txt")
exec 3>&1

reason=$(machine_why_not)
if [[ $reason ]]; then
        tap_skip "the package under systemd" "$reason"
        tap_done
        exit
fi
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
machine_start
package_prepare "$version"

tap_test "the package installs" package_installs
package_make_users
tap_test "it enables and starts the socket, not the service" package_enables_the_socket
tap_test "systemctl enable --now mountatd.socket" socket_enables
tap_test "a connection by the group starts the service" connection_starts_the_service
tap_test "a user outside the group is refused" stranger_is_refused
tap_test "systemctl status shows the state" status_tells
tap_test "each thread has only CAP_SYS_ADMIN" capabilities_are_one
tap_test "its mount namespace is that of PID 1" namespace_is_that_of_pid_1
tap_test "options in /etc/default/mountatd take effect" options_count
tap_test "a toolchain works in a runner's unit" toolchain_runs
tap_test "it exits when idle, and comes back, twice" idle_exit_and_back
tap_test "entries in the journal have an id and fields" journal_has_fields
tap_test "journalctl --catalog explains them" journal_explains

go_prepare "$buildbarn"
reason=$(buildbarn_why_not)
if [[ $reason ]]; then
        tap_skip "mountat-runner's unit" "$reason"
else
        tap_test "Buildbarn is built and a cluster started" runner_prepare "$version"
        tap_test "mountat-runner's package installs, and starts it" runner_installs
        tap_test "without it, an action has no /proc, and nothing is logged" runner_is_not_between
        tap_test "it is set up as its README says" runner_is_set_up
        tap_test "the first action is green" buildbarn_is_green
        tap_test "mountat-runner --check finds nothing wrong" runner_is_checked
        tap_test "it reports that it can't connect to bb_runner" runner_cannot_reach_bb_runner
        tap_test "it reports that it can't enter input roots" runner_cannot_enter_input_roots
        tap_test "bb_worker reports that it can't connect to mountat-runner" runner_is_closed_to_the_worker
        tap_test "it reports that it is in another mount namespace" runner_has_a_namespace_of_its_own
        tap_test "it doesn't start if it can't open input roots" runner_needs_openat2
        tap_test "manually installed files hide it" runner_is_hidden
        tap_test "actions end with the unit of a killed bb_runner" runner_unit_ends_actions
        if [[ -c /dev/fuse ]]; then
                tap_test "with FUSE, the first action is green" runner_serves_fuse
                tap_test "with FUSE, actions get a /dev" runner_gives_a_dev
                tap_test "it reports that it has no access to a FUSE" runner_is_kept_out_of_fuse
                tap_test "--check shows a FUSE of another mount namespace" runner_does_not_see_fuse
        else
                tap_skip "a build directory that is FUSE" "impossible here: there is no /dev/fuse"
        fi
        tap_test "an upgrade restarts it, and keeps its options" runner_upgrades
        tap_test "an upgrade leaves it disabled" runner_stays_disabled
        tap_test "removing its package leaves its options" runner_is_removed
        tap_test "purging it leaves no file" runner_is_purged
fi

tap_test "the README's lines with busctl work" readme_lines_work
tap_test "busctl introspect and get-property" introspection_is_complete
tap_test "a call over D-Bus starts the service" call_starts_the_service
tap_test "polkit denies" polkit_denies
tap_test "polkit allows by a rule, and only that" polkit_allows
tap_test "polkit's question names the lease" polkit_is_told_of_the_lease
tap_test "leases made over D-Bus outlive a restart, not a stop" bus_leases_outlive_a_restart
tap_test "a call at the moment of an idle exit is answered" calls_meet_idle_exits
tap_test "systemctl service-log-level, repeatedly" log_level_is_set
tap_test "only root sets the log level" log_level_is_for_root

tap_test "systemctl restart keeps the leases" restart_keeps_leases
tap_test "systemctl stop leaves nothing" stop_leaves_nothing
tap_test "leases not adopted in time are unmounted" nobody_adopts
tap_test "the watchdog restarts a hung loop" watchdog_restarts
tap_test "five kills in a row stop neither the service nor the socket" kills_end_nothing
tap_test "an upgrade keeps the leases" package_upgrades

tap_test "PID 1's CPU time per mount and unmount" cost_of_pid_1
tap_test "its memory is limited" memory_is_limited
reason=$(memory_why_not)
if [[ $reason ]]; then
        tap_skip "a user's limits stay far below that" "$reason"
else
        tap_test "a user's limits stay far below that" memory_suffices
fi
tap_test "the unit's exposure is at most 3.8" score_is_at_most 38
tap_test "with a drop-in it can enter mount namespaces" join_variant_is_installed
tap_test "and it serves a client in one" joined_client_is_served
tap_test "and one in a user namespace, whose ids it sees" \
        joined_client_is_served unshare --user --map-root-user --mount --net
tap_test "at almost no cost for PID 1" cost_of_pid_1_elsewhere
tap_test "with an exposure of at most 4.0" score_is_at_most 40
tap_test "a container's socket outlives restarts" second_socket_is_served
tap_test "without a group it is in a closed directory" open_socket_is_in_a_closed_directory
tap_test "the second socket stops with the first" join_variant_is_removed
tap_test "with the drop-in it runs as its own user" user_variant_is_installed
tap_test "with only CAP_SYS_ADMIN" capabilities_are_one mountatd
tap_test "in the mount namespace of PID 1" namespace_is_that_of_pid_1
tap_test "with its name on the bus" user_variant_is_on_the_bus
tap_test "polkit answers it" polkit_answers_the_user_variant
tap_test "and mounts, restarts, and keeps the leases" restart_keeps_leases
tap_test "with an exposure of at most 3.4" score_is_at_most 34

tap_test "removing the package leaves no mount" package_removes
tap_test "purging it leaves no file" package_purges
tap_done
