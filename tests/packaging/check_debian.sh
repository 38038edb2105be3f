#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The Debian releases after the one that is developed on, each on a machine of its own whose PID 1 is
# the release's systemd: the packages, built from a clean copy of the checkout by the release's compiler
# against its libraries, are installed, and system and fault tests are run; on this kernel. Needs root;
# prints TAP.
#
# Others can be named, and what is run of the tests, as tests/system/machine/suite takes it:
#
#   sudo tests/packaging/check_debian.sh sid
#   sudo tests/packaging/check_debian.sh sid system/check_bus faults/

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/root.sh"
. "$tests/lib/debian.sh"
. "$tests/lib/go.sh"
. "$tests/packaging/systemd/machine.sh"
. "$tests/packaging/systemd/install.sh"
. "$tests/packaging/systemd/buildbarn.sh"
. "$tests/packaging/systemd/runner.sh"
. "$tests/packaging/systemd/socket.sh"
. "$tests/packaging/systemd/death.sh"
. "$tests/packaging/systemd/unit.sh"

# What meets the release's systemd, D-Bus, polkit, libc and libfuse; not what waits for time to pass.
parts=(
        system/check_daemon_{mount,unmount,refusals,limits,privileges,confinement,lifecycle,dev,fuse,join}
        system/check_{adopt,return,run,bus,polkit,ctl} faults/check_{stalls,containers}
)

# Gives up, with the one line of TAP that says why.
skip_all() {
        tap_skip "the packages on later releases of Debian" "$1"
        tap_done
        exit 0
}

# What each step took.
timed() {
        local what=$1 start=$SECONDS status=0

        shift
        "$@" || status=$?
        echo "# $debian_suite: $what took $((SECONDS - start)) s" >&3
        return "$status"
}

# By the list of packages that is for every release.
install_what_is_needed() {
        debian_add_checkout "$root"
        # shellcheck disable=SC2016 # for the shell in there
        debian_run "$root" bash -e -c '. "$0/tests/lib/packages.sh"
                packages_install build test manual package systemd' "$debian_checkout"
}

# A static program is the same with each release's Go, so mountat-runner is built by the one that is here.
bring_go() {
        go_prepare_runner
        if [[ ! $runner_missing ]]; then
                # shellcheck disable=SC2034 # for machine_start
                machine_binds=(--bind-ro="$(go_env GOROOT)":/usr/local/go
                        --bind-ro="$(go_env GOMODCACHE)":/root/go/pkg/mod
                        --bind="$(go_env GOCACHE)":/root/.cache/go-build)
        fi
}

go_env() (
        cd "$repository/client/buildbarn"
        go env "$1"
)

# build FUNCTION ARGUMENT…: of build.sh, in the machine.
build() {
        # shellcheck disable=SC2016 # for the shell in there
        machine_seconds_max=600 machine_run bash -e -c '. "$0/tests/lib/build.sh"; "$@"' \
                "$debian_checkout" "$@"
}

packages_install_there() {
        machine_run sh -c "dpkg --install $debian_checkout/build/package*/*.deb"
        tap_equal "$(machine_run dpkg --audit)" ""
        machine_run systemctl enable --now mountatd.socket
        package_make_users
}

# The tests' own lines, with the release before each.
run_suite() {
        local report=$area/$debian_suite.tap

        machine_seconds_max=1500 machine_run "$debian_checkout/tests/system/machine/suite" \
                "${parts[@]}" >"$report" || true
        tap_retell "$debian_suite: " "$report"
        if ! grep -q '^1\.\.' "$report"; then
                tap_not_ok "$debian_suite: each program of ${parts[*]} is run"
        fi
}

test_machine() {
        local suite=$debian_suite failures

        tap_test "$suite: the packages are built, without a warning" timed "the packages" \
                build build_make_deb -DMOUNTATD_WERROR=ON "$runner_option"
        tap_test "$suite: they install" packages_install_there
        if [[ $runner_missing ]]; then
                tap_skip "$suite: mountat-runner" "$runner_missing"
        else
                tap_test "$suite: mountat-runner starts" runner_starts
                tap_test "$suite: removing its package leaves its options" runner_is_removed
        fi
        tap_test "$suite: a connection of the group's starts the service" \
                connection_starts_the_service
        tap_test "$suite: each thread has CAP_SYS_ADMIN alone" capabilities_are_one
        tap_test "$suite: systemctl restart keeps the leases" restart_keeps_leases
        tap_test "$suite: systemctl stop leaves nothing" stop_leaves_nothing
        tap_test "$suite: removing the package leaves no mount" package_removes

        failures=$tap_failures
        tap_test "$suite: the tests are built, without a warning" timed "the tests' build" \
                build build_make dev
        if ((tap_failures == failures)); then
                timed "the tests" run_suite
        fi
}

test_release() {
        local start=$SECONDS failures=$tap_failures log

        debian_suite=$1
        debian_archives=$repository/build/archives/$1
        root=$area/$1
        log=$area/$1.log
        debian_find_mirror
        tap_test "$1: debootstrap makes a root" timed debootstrap debian_make "$root"
        tap_test "$1: what the tests need is installed" timed packages install_what_is_needed
        if ((tap_failures > failures)); then
                return 0
        fi
        # shellcheck disable=SC2034 # for machine_start
        machine_files=$root
        machine_start >"$log" 2>&1 || tap_not_ok "$1: systemd starts: $(tail -n 1 "$log")"
        if ((tap_failures == failures)); then
                echo "# $1: $(machine_run systemctl --version | head -n 1)," \
                        "$(machine_run gcc --version | head -n 1)"
                test_machine
        fi
        machine_stop
        unset machine_leader machine_pid machine_cgroup machine_area
        rm --recursive --one-file-system "$root"
        echo "# $1 took $((SECONDS - start)) s"
}

clean_up() {
        machine_stop
        if [[ ${area:-} ]]; then
                umount --recursive --lazy "$area" || true
                rmdir "$area" || true
        fi
        build_give_back
}

root_enter_namespace "$@"
releases=(trixie sid)
if (($# > 0)); then
        releases=("$1")
        shift
fi
if (($# > 0)); then
        parts=("$@")
fi
if [[ ! $(command -v apt-get) ]]; then
        skip_all "impossible here: it takes debootstrap, and there is no apt"
elif ! packages_install fresh systemd; then
        skip_all "debootstrap and systemd-nspawn can't be installed"
fi
reason=$(machine_why_not)
if [[ $reason ]]; then
        skip_all "$reason"
fi
version=$(sed -nE 's/^project\(mountatd VERSION ([0-9.]+) .*/\1/p' "$repository/CMakeLists.txt")
bring_go
exec 3>&1
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
area=$(mktemp --directory --tmpdir mountatd-debian.XXXXXXXX)
mount -t tmpfs -o mode=0755 mountatd-test "$area"
for release in "${releases[@]}"; do
        test_release "$release"
done
tap_done
