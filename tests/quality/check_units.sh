#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR
#
# Every source has a test of its own: tests/unit/DIRECTORY/check_NAME.c for each DIRECTORY/NAME.c,
# which is built, and has tests in it. Prints TAP. The rule is then tried on copies with one fault in
# each: a rule that sees nothing is none.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/tap.sh"

copies=$(mktemp --directory)
trap 'rm -rf "$copies"' EXIT

# gaps ROOT DIRECTORY: what is missing there, a line each.
gaps() {
        local root=$1 directory=$2 source name test

        for source in "$root/$directory"/*.c; do
                name=check_$(basename "$source" .c)
                test=tests/unit/$directory/$name.c
                if [[ ! -f $root/$test ]]; then
                        echo "$directory/$(basename "$source") has no $test"
                elif ! grep --quiet --word-regexp "$name" "$root/${test%/*}/CMakeLists.txt"; then
                        echo "$test isn't built: name it in ${test%/*}/CMakeLists.txt"
                elif ! grep --quiet --extended-regexp '^[A-Z]+(_[A-Z]+)*_TEST\(' "$root/$test"; then
                        echo "$test has no test in it"
                fi
        done
}

has_no_gap() {
        local found

        found=$(gaps "$tests/.." "$1")
        if [[ $found ]]; then
                echo "$found"
                return 1
        fi
}

# sees COMMAND…: what it does to a copy of the daemon makes one gap more.
sees() {
        local copy before after

        copy=$(mktemp --directory "$copies/XXX")
        (cd "$tests/.." && cp --parents daemon/*.c tests/unit/daemon/* "$copy")
        before=$(gaps "$copy" daemon | wc -l)
        (cd "$copy" && "$@")
        after=$(gaps "$copy" daemon | wc -l)
        tap_equal "$after" "$((before + 1))"
}

for directory in common daemon client; do
        tap_test "each source of $directory/ has its test" has_no_gap "$directory"
done
tap_test 'sees a source without a test' sees touch daemon/new.c
tap_test 'sees a test that has gone' sees rm tests/unit/daemon/check_server.c
tap_test "sees a test that isn't built" \
        sees sed -i 's/check_server/check_another/' tests/unit/daemon/CMakeLists.txt
tap_test 'sees a test without tests' \
        sees sed -i 's/^START_TEST/static void (/' tests/unit/daemon/check_server.c
tap_done
