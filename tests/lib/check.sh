# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What a program of Check's, or a script, came to: by its status and its TAP.

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
