#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The benchmark runs, says all that it should, and leaves nothing behind. What it measures is not
# judged here. Needs root; prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"

tables=(machine routes pause_150 pause_2000 pause_0 mounts namespaces clients leases start summary)
# What can be had wherever the benchmark's packages are; and where systemd is process 1.
routes=(direct 'direct, child' mountatd 'mountatd, dev' 'mountatd, anew' 'mountatd, joined'
        'mountatd, joined anew' mountatctl 'mount(8)' D-Bus against)
routes_of_one_step=(hello connect 'bwrap --proc' 'unshare -m' 'against: hello' 'against: connect')
if [[ -d /run/systemd/system ]]; then
        routes+=(systemd-mount)
fi
figures=(
        'cycle to direct, 150 us of pause'
        'mount to direct, 150 us of pause'
        'unmount to direct, 150 us of pause'
        "cycle of mount(8) and umount(8) to the daemon's"
        'mount with a dev to without'
        'unmount with a dev to without'
        'cycle in a container to one at home'
        'cycle in a container to one at home, connecting anew'
        'cycle to direct, 2 ms of pause'
        'mount to direct, 2 ms of pause'
        'unmount to direct, 2 ms of pause'
        'cycle to direct, no pauses'
        'cycle with 100 mounts in the namespace, to without'
        'cycle with 2 namespaces that receive the mounts, to without'
        'throughput of 12 clients, to that of 12 threads'
        'p99 of 12 clients, to their p50'
        'RSS of the idle daemon'
        'RSS of a lease'
        'superblocks of procfs'
        'cold start'
)

# Against itself, so with all the routes that there can be.
runs_in_little_time() {
        "$tests/bench/run" --quick --runs=1 --against="$repository/build/benchmark/daemon/mountatd" \
                >"$scratch/text" 2>"$scratch/log" || {
                cat "$scratch/log"
                return 1
        }
}

# The daemons and the bus that it starts, and starts again, have nothing to complain of.
is_quiet() {
        tap_equal "$(<"$scratch/log")" "pictures: $repository/build/bench/*.svg"
}

prints_json() {
        "$tests/bench/run" --quick --runs=1 --json >"$scratch/json" 2>"$scratch/log"
        tap_equal "$(ask_json 'print(*tables)')" "${tables[*]}"
}

# Python with the JSON's tables.
ask_json() {
        python3 -c "import json
tables = json.load(open('$scratch/json'))
$1"
}

# Three tables of comparisons, with three steps of each route in each.
tells_every_route_and_step() {
        local route step

        for route in "${routes[@]}"; do
                for step in mount unmount cycle; do
                        is_told_thrice "$route" "$step"
                done
        done
        for route in "${routes_of_one_step[@]}"; do
                is_told_thrice "$route" cycle
        done
}

is_told_thrice() {
        tap_equal "$1 $2 $(grep --count --extended-regexp "^${1//[()]/.} +$2 +[0-9]" \
                "$scratch/text" || true)" "$1 $2 3"
}

# The one that may be missing, and the reason.
tells_what_is_not_here() {
        local missing

        missing=$(sed -nE 's/^(.*[^ ]) +not here: .*/\1/p' "$scratch/text")
        if [[ -d /run/systemd/system ]]; then
                tap_equal "$missing" ''
        else
                tap_equal "$missing" systemd-mount
        fi
}

tells_every_version() {
        tap_equal "$(ask_json '
told = {row["what"]: row["which"] for row in tables["machine"]["rows"]}
for what in "daemon", "kernel", "processor", "mount(8)", "unshare(1)", "bwrap", "dbus-daemon":
    print(what, "told" if told[what] else "not told")')" "daemon told
kernel told
processor told
mount(8) told
unshare(1) told
bwrap told
dbus-daemon told"
}

# With the sizes that there really were: --quick has smaller ones.
tells_every_sweep() {
        tap_equal "$(ask_json '
for name in "mounts", "namespaces", "clients":
    for route in "direct", "mountatd":
        print(name, route, *[row[name] for row in tables[name]["rows"] if row["route"] == route])
print("leases", *[row["leases"] for row in tables["leases"]["rows"]])
print("starts", *[row["starts"] for row in tables["start"]["rows"]])')" "mounts direct 0 10 100
mounts mountatd 0 10 100
namespaces direct 0 1 2
namespaces mountatd 0 1 2
clients direct 1 2 4 8 12 32
clients mountatd 1 2 4 8 12 32
leases 0 10 40 80
starts 1"
}

# Each with a value; what the value is, only where no haste changes it.
summarises_every_figure() {
        tap_equal "$(ask_json '
for row in tables["summary"]["rows"]:
    print(row["figure"] if row["median"] is not None and row["spread"] else row)')" \
                "$(printf '%s\n' "${figures[@]}")"
        tap_equal "$(ask_json '
print(*[row["median"] for row in tables["summary"]["rows"]
        if row["figure"] == "superblocks of procfs"])')" 1.0
}

# D-Bus without dbus-daemon's part would look cheaper than it is.
tells_processor_time_of_the_bus() {
        tap_equal "$(ask_json '
for name in "pause_150", "pause_2000", "pause_0":
    print(*[row["cpu other"] > 0 for row in tables[name]["rows"]
            if (row["route"], row["step"]) == ("D-Bus", "cycle")])')" "True
True
True"
}

draws_pictures() {
        tap_equal "$(find "$repository/build/bench" -name '*.svg' -size +1k | wc -l)" 9
}

# But for those of containers/check_examples, whose debootstrap may run at the same time.
list_mounts() {
        findmnt --noheadings --list --output TARGET,SOURCE |
                grep --invert-match --fixed-strings "$repository/build/containers." || true
}

leaves_nothing() {
        tap_equal "$(list_mounts)" "$mounts_before"
        tap_equal "$(find "$scratch/tmp" -mindepth 1)" ''
        tap_equal "$(pgrep --full "$repository/build/benchmark/daemon/mountatd --runtime" || true)" ''
}

packages_install build test bench
scratch=$(mktemp --directory)
trap 'rm --recursive --force "$scratch"' EXIT
mkdir "$scratch/tmp"
export TMPDIR=$scratch/tmp
mounts_before=$(list_mounts)

tap_test 'it runs in little time' runs_in_little_time
tap_test 'it is quiet' is_quiet
tap_test 'it prints JSON' prints_json
tap_test 'with JSON as well' is_quiet
tap_test 'it tells every route and step' tells_every_route_and_step
tap_test 'it tells what is not here' tells_what_is_not_here
tap_test 'it tells every version' tells_every_version
tap_test 'it tells every sweep' tells_every_sweep
tap_test 'it sums up every figure' summarises_every_figure
tap_test "it tells the bus's processor time" tells_processor_time_of_the_bus
tap_test 'it draws pictures' draws_pictures
tap_test 'it leaves nothing behind' leaves_nothing
tap_done
