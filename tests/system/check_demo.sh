#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The demonstration must do what it shows, and clean up, also when it is interrupted. Prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/tap.sh"

output=$(mktemp)
trap 'rm -f "$output"' EXIT

# Starts it in a process group of its own, as a shell does for a person; sets demo.
start_demo() {
        set -m
        "$tests/demo" >"$output" 2>&1 </dev/null &
        demo=$!
        set +m
}

# finish_demo STATUS: awaits its end and checks it.
finish_demo() {
        local status=0

        wait "$demo" || status=$?
        if ((status != $1)); then
                echo "status $status instead of $1"
                cat "$output"
                return 1
        fi
}

# Neither mounts, nor the directory they were made on, nor a process that was given it.
left_nothing() {
        local root

        root=$(sed -nE 's|^ *(/.*)/root$|\1|p' "$output")
        [[ $root ]]
        tap_equal "$(find "$root" 2>/dev/null)" ""
        tap_equal "$(grep -F "$root" /proc/self/mounts)" ""
        # By a file: as an argument it would be in grep's own command line.
        tap_equal "$(grep -lF -f <(echo "$root") /proc/[0-9]*/cmdline 2>/dev/null)" ""
}

succeeds() {
        start_demo
        finish_demo 0
        tap_contains "$(cat "$output")" "hello from rustc"
        tap_contains "$(cat "$output")" "a process substitution works"
        tap_equal "$(tail -n 1 "$output")" "6 passed, 0 failed, 0 skipped"
        left_nothing
}

# Waits for the step $1. Fails if the demonstration ends before.
await_step() {
        while ! grep -q "^$1\." "$output"; do
                kill -0 "$demo" || return 1
                sleep 0.01
        done
}

# ^C goes to the whole group.
cleans_up_after_interrupt() {
        start_demo
        await_step "$1"
        kill -INT -- "-$demo"
        finish_demo 130
        left_nothing
}

tap_test "the demonstration succeeds and leaves nothing" succeeds
tap_test "interrupted while it compiles, it leaves nothing" cleans_up_after_interrupt 3
tap_test "interrupted while the daemon runs, it leaves nothing" cleans_up_after_interrupt 5
tap_done
