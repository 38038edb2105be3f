# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The programs of Check's, and what one of them, or a script, came to: by its status and its TAP.

# check_programs TESTS: their names below that directory, which are the same for source and program.
# By the sources: one that was forgotten in CMakeLists.txt is missed, and one that is there no more
# isn't run.
check_programs() {
        local source

        for source in "$1"/unit/*/check_*.c "$1"/{faults,system}/check_*.c; do
                source=${source#"$1"/}
                echo "${source%.c}"
        done
}

# lines PATTERN FILE: how many lines match.
lines() {
        grep --count --extended-regexp "$1" "$2" || true
}

plan_of() {
        sed -nE 's/^1\.\.([0-9]+)$/\1/p' "$1" | tail -n 1
}

# is_broken STATUS TAP FAILED: 1 if it ended otherwise than its TAP tells: crashed, timed out, lost
# tests, or told nothing.
is_broken() {
        local status=$1 tap=$2 bad=$3 plan

        plan=$(plan_of "$tap")
        if ((status > 1)) || ((status == 1 && bad == 0)) || ((${plan:-0} == 0)) ||
                ((plan != $(lines '^(not )?ok ' "$tap"))); then
                echo 1
        else
                echo 0
        fi
}
