#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The reason for it all: real compilers, in an input root without /proc and /sys, and in the same
# one under `mountatctl run`. Same program, same user, same environment. And with --dev Go's own and
# Python's own tests, which come to the same inside as outside. Needs root; prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/root.sh"
. "$tests/lib/daemon.sh"
. "$tests/lib/go.sh"
. "$tests/lib/suites.sh"

# Go knows where it was built to be and, when it is there, doesn't ask for its own path. One that
# came with the build's inputs, as under Bazel, has to find out where it was put: so it is moved.
go_root=
go_moved=/usr/sdk/go

# Where it is in the inputs, what is run, what is said about it without /proc, and with it.
tools=(rustc cargo go node javac)
declare -A directory=([rustc]=rust [cargo]=crate [go]=go [node]=node [javac]=java)
declare -A command=(
        [rustc]='/usr/bin/rustc -o hello hello.rs && ./hello'
        [cargo]='/usr/bin/cargo build --offline && target/debug/cargo'
        [go]="$go_moved/bin/go build -o hello hello.go && ./hello"
        [node]='/usr/bin/node hello.js'
        [javac]='/usr/bin/javac Hello.java && /usr/bin/java -cp . Hello'
)
declare -A complaint=(
        [rustc]='no /proc/self/exe available. Is /proc mounted?'
        [cargo]='no /proc/self/exe available. Is /proc mounted?'
        [go]='go: cannot find GOROOT directory'
        [node]='wrong: process.execPath, os.cpus(), process.memoryUsage()'
        [javac]='javac: error while loading shared libraries: libjli.so'
)
declare -A greeting=(
        [rustc]='hello from rustc'
        [cargo]='hello from cargo'
        [go]='hello from go'
        [node]='hello from node'
        [javac]='hello from java'
)

find_go() {
        if [[ -x /usr/bin/go ]]; then
                go_root=$(dirname "$(dirname "$(realpath /usr/bin/go)")")
        fi
}

# A device 0:0 in an overlay's changes means "not there".
root_prepare() {
        if [[ $go_root ]]; then
                mkdir -p "$1$(dirname "$go_root")"
                mknod "$1$go_root" c 0 0
        fi
}

move_go() {
        if [[ $go_root ]]; then
                mkdir -p "$root$go_moved"
                mount --bind "$go_root" "$root$go_moved"
        fi
}

# For Go's own tests it is where they look for it.
return_go() {
        if [[ $go_root ]]; then
                mkdir -p "$root$go_root"
                mount --bind "$go_root" "$root$go_root"
        fi
}

copy_inputs() {
        cp -r "$tests"/inputs/* "$root/build"
        chown -R "$root_user:$root_user" "$root/build"
}

in_directory() {
        echo "cd /build/${directory[$1]} && ${command[$1]}"
}

fails_without() {
        local output

        if output=$(root_run_bare /bin/sh -c "$(in_directory "$1")" 2>&1); then
                echo "it succeeded: $output"
                return 1
        fi
        tap_contains "$output" "${complaint[$1]}"
}

works_with() {
        local output

        if ! output=$(daemon_run /bin/sh -c "$(in_directory "$1")" 2>&1); then
                echo "it failed: $output"
                return 1
        fi
        tap_contains "$output" "${greeting[$1]}"
}

why_not() {
        local program=${command[$1]%% *}

        if root_has "$program"; then
                return 0
        elif [[ -x $program ]]; then
                echo "impossible here: $program isn't on the root file system"
        else
                echo "$program could not be installed"
        fi
}

test_tool() {
        local without="$1 fails without /proc" with="$1 works under mountatctl run" reason

        reason=$(why_not "$1")
        if [[ $reason ]]; then
                tap_skip "$without" "$reason"
                tap_skip "$with" "$reason"
        else
                tap_test "$without" fails_without "$1"
                tap_test "$with" works_with "$1"
        fi
}

test_suites() {
        local suite run=() reason why_not_python

        return_go
        suites_make_lanes
        why_not_python=$(suites_why_not_python)
        if [[ ! $why_not_go ]]; then
                suites_path=$(go env GOROOT)/bin:$suites_path
                why_not_go=$(suites_why_not_go)
        fi
        if [[ ! $why_not_go ]]; then
                run+=("${suites_go[@]}")
        fi
        if [[ ! $why_not_python ]]; then
                run+=("${suites_python[@]}")
        fi
        suites_start "${run[@]}"
        suites_await
        for suite in "${suites_go[@]}"; do
                test_suite "$suite" "Go's tests of $suite" "$why_not_go"
        done
        for suite in "${suites_python[@]}"; do
                test_suite "$suite" "Python's tests of ${suite#test_}" "$why_not_python"
        done

        # As Buildbarn's FUSE is mounted: the root has its devices and they can't be opened.
        mount -o remount,bind,nodev "$root"
        test_without_dev os/exec '' "$why_not_go"
        test_without_dev test_pty '' "$why_not_python"
        test_without_dev test_multiprocessing_spawn \
                test.test_multiprocessing_spawn.WithProcessesTestLock.test_lock "$why_not_python"
}

# test_suite SUITE WHAT REASON
test_suite() {
        local name="$2 come to the same inside" told

        if [[ $3 ]]; then
                tap_skip "$name" "$3"
                return
        fi
        if told=$(suites_same "$1"); then
                tap_ok "$name"
        else
                tap_not_ok "$name"
        fi
        echo "# ${told//$'\n'/$'\n'# }" # what may differ is told as well
}

# test_without_dev SUITE TEST REASON: if it passed without, the others would show nothing.
test_without_dev() {
        local name="${2:-$1} fails without /dev"

        if [[ $3 ]]; then
                tap_skip "$name" "$3"
        else
                tap_test "$name" suites_fail_bare "$1" ${2:+"$2"}
        fi
}

has_one_capability() {
        local status wanted
        local none=0000000000000000 only=0000000000200000 # bit 21, CAP_SYS_ADMIN

        wanted=$(printf '%s\n' "CapInh $none" "CapPrm $only" "CapEff $only" "CapBnd $only" \
                "CapAmb $none" "NoNewPrivs 1")
        for status in "/proc/$daemon_pid/task"/*/status; do
                tap_equal "$(sed -nE 's/^(Cap...|NoNewPrivs):\t/\1 /p' "$status")" "$wanted"
        done
}

leaves_nothing() {
        tap_equal "$(daemon_mounts)" ""
        tap_equal "$(ls -A "$root/proc" "$root/sys")" "$root/proc:"$'\n\n'"$root/sys:"
}

clean_up() {
        suites_stop
        daemon_stop
        root_remove
}

root_enter_namespace "$@"
packages_install build
packages_install toolchains || true
build_make_package
find_go

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
root_make
move_go
copy_inputs
suites_make
# Before there is a daemon, which exits when it is idle for long.
why_not_go=$(suites_build_go)
daemon_start "$build_package"

for tool in "${tools[@]}"; do
        test_tool "$tool"
done
test_suites
tap_test "the daemon held CAP_SYS_ADMIN alone" has_one_capability
tap_test "nothing is left mounted" leaves_nothing
tap_done
