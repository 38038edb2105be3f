# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The test programs that use Check, and the result of a program or script, by its status and TAP.

# check_programs TESTS: their names below that directory, the same for source and program. Taken from the
# sources, so that a test missing in CMakeLists.txt fails, and a stale program isn't run.
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

# is_broken STATUS TAP FAILED: 1 if the status contradicts the TAP: it crashed, timed out, lost tests, or
# printed nothing.
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
