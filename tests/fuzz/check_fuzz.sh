#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The fuzz targets of tests/fuzz: each replays its corpus, then looks for more. Prints TAP.
#
#   tests/fuzz/check_fuzz.sh                   # MOUNTATD_FUZZ_SECONDS each: 5, with CI=true 60
#   tests/fuzz/check_fuzz.sh minimise SECONDS  # looks for SECONDS each, then renews the corpora
#
# An input that fails is left in build/fuzz/failures.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"

targets=(wire fdpass state request)
sources=$repository/tests/fuzz
programs=$repository/build/fuzz/tests/fuzz
found=$repository/build/fuzz/found
failures=$repository/build/fuzz/failures
seconds=${MOUNTATD_FUZZ_SECONDS:-$([[ ${CI:-} == true ]] && echo 60 || echo 5)}
# Leaks are looked for by descriptors and, at the end of a run, by LeakSanitizer.
options=(-max_len=1024 -timeout=20 -artifact_prefix="$failures/" -print_final_stats=1)

vector_bytes() {
        sed -nE 's/^bytes: ?//p' "$1" | tr -d ' \n' | sed 's/../\\x&/g'
}

# The golden vectors are where the decoder's corpus begins.
seed_wire() {
        local vector

        for vector in "$repository"/tests/vectors/*.txt; do
                # shellcheck disable=SC2059 # bytes
                printf "$(vector_bytes "$vector")" >"$found/wire/$(basename "$vector" .txt)"
        done
}

count_inputs() {
        find "$sources/corpus/$1" -type f | wc -l
}

replay() {
        if (($(count_inputs "$1") == 0)); then
                echo "there is nothing to replay"
                return 1
        fi
        "$programs/fuzz_$1" "${options[@]}" -runs=0 "$sources/corpus/$1" 2>&1 | tail -n 30
}

# What is found is left in build/fuzz/found, for the next time.
look_for_more() {
        mkdir -p "$found/$1"
        "$programs/fuzz_$1" "${options[@]}" -max_total_time="$2" \
                "$found/$1" "$sources/corpus/$1" >"$build_logs/fuzz.$1.log" 2>&1 ||
                {
                        tail -n 100 "$build_logs/fuzz.$1.log"
                        return 1
                }
}

look() {
        look_for_more "$1" "$seconds"
}

told() {
        sed -nE 's/^Done ([0-9]+) runs in ([0-9]+) .*/\1 runs in \2 s/p; s/^#[0-9]+[[:space:]]+DONE +(cov: [0-9]+ ft: [0-9]+) .*/\1/p' \
                "$build_logs/fuzz.$1.log" | paste -sd ' '
}

minimise() {
        local target

        for target in "${targets[@]}"; do
                mkdir -p "$found/$target" "$sources/corpus/$target"
                [[ $target != wire ]] || seed_wire
                look_for_more "$target" "$1"
                echo "$target: $(told "$target")"
                rm -rf "$found/minimal"
                mkdir "$found/minimal"
                # By edges alone, not by how often each is taken: tens of files instead of hundreds.
                "$programs/fuzz_$target" -merge=1 -use_counters=0 -use_value_profile=0 \
                        "$found/minimal" "$found/$target" "$sources/corpus/$target" \
                        >"$build_logs/fuzz.merge.log" 2>&1
                rm -rf "${sources:?}/corpus/$target"
                mv "$found/minimal" "$sources/corpus/$target"
                echo "$target: $(count_inputs "$target") files"
        done
}

main() {
        local target

        for target in "${targets[@]}"; do
                tap_test "$target: $(count_inputs "$target") inputs of the corpus" \
                        replay "$target"
        done
        tap_test_each "takes $seconds s of new inputs" look "${targets[@]}"
        for target in "${targets[@]}"; do
                echo "# $target: $(told "$target")"
        done
        tap_done
}

packages_install build test fuzz
mkdir -p "$build_logs" "$failures" "$found"
if ! build_make fuzz; then
        tap_not_ok 'the fuzz targets build'
        tap_done
        exit 1
fi
if [[ ${1:-} == minimise ]]; then
        minimise "$2"
else
        main
fi
