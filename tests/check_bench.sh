#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR
#
# The benchmark runs, says all that it should, and leaves nothing behind. What it measures is not
# judged here. Needs root; prints TAP.

set -euo pipefail

tests=$(dirname "$(realpath "$0")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"

routes=(direct 'direct, child' mountatd mountatctl 'mount(8)')
tables=(machine routes pause_150 pause_2000 pause_0 mounts namespaces clients leases start targets)

runs_in_little_time() {
        "$tests/bench" --quick --runs=1 >"$scratch/text" 2>"$scratch/log" || {
                cat "$scratch/log"
                return 1
        }
}

# Three tables of comparisons, with three steps of each route in each.
tells_every_route_and_step() {
        local route step

        for route in "${routes[@]}"; do
                for step in mount unmount cycle; do
                        tap_equal "$route $step $(grep --count --extended-regexp \
                                "^${route//[()]/.} +$step +[0-9]" "$scratch/text")" "$route $step 3"
                done
        done
}

tells_every_sweep() {
        local line

        for line in '^ *10000  mountatd' '^ *16  mountatd' '^ *32  mountatd' \
                'Superblocks of procfs among them: 1' '^starts ' '^cold start '; do
                grep --quiet --extended-regexp "$line" "$scratch/text" || {
                        echo "not there: $line"
                        return 1
                }
        done
}

prints_json() {
        "$tests/bench" --quick --runs=1 --json >"$scratch/json" 2>"$scratch/log"
        tap_equal "$(python3 -c 'import json, sys
print(" ".join(json.load(sys.stdin)))' <"$scratch/json")" "${tables[*]}"
}

draws_pictures() {
        tap_equal "$(find "$repository/build/bench" -name '*.svg' -size +1k | wc -l)" 9
}

leaves_nothing() {
        tap_equal "$(findmnt --noheadings --list --output TARGET,SOURCE)" "$mounts_before"
        tap_equal "$(find "$scratch/tmp" -mindepth 1)" ''
        tap_equal "$(pgrep --full "$repository/build/release/daemon/mountatd --runtime" || true)" ''
}

packages_install build test bench
scratch=$(mktemp --directory)
trap 'rm --recursive --force "$scratch"' EXIT
mkdir "$scratch/tmp"
export TMPDIR=$scratch/tmp
mounts_before=$(findmnt --noheadings --list --output TARGET,SOURCE)

tap_test 'it runs in little time' runs_in_little_time
tap_test 'it tells every route and step' tells_every_route_and_step
tap_test 'it tells every sweep' tells_every_sweep
tap_test 'it prints JSON' prints_json
tap_test 'it draws pictures' draws_pictures
tap_test 'it leaves nothing behind' leaves_nothing
tap_done
