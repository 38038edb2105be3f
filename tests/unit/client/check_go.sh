#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/../..
#
# What `go test` says of the modules in Go, as TAP. Needs root, for the real daemon, which go does not
# take for an input of the tests: hence no result of before.

set -euo pipefail

tests=$(dirname "$(dirname "$(dirname "$(realpath "$0")")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/go.sh"

# The tests' lines of `go test -v`; subtests are indented and count as part of their test. The reason
# of a skip comes before its line in some versions, after it in others; the log has it.
translate() {
        local module=$1 line test

        while IFS= read -r line; do
                test=${line#--- ????: }
                test="$module ${test% (*}"
                case $line in
                '--- PASS: '*) tap_ok "$test" ;;
                '--- FAIL: '*) tap_not_ok "$test" ;;
                '--- SKIP: '*) tap_skip "$test" "$test: see the log" ;;
                *) echo "# $line" ;;
                esac
        done
}

test_module() {
        local module=$1 log reason failures=$tap_failures

        go_prepare "$repository/$module"
        reason=$(go_why_not "$repository/$module")
        if [[ $reason ]]; then
                tap_skip "$module" "$reason"
                return 0
        fi

        log=$build_logs/go.${module//\//.}.log
        if (cd "$repository/$module" && go test -race -count=1 -v ./...) >"$log" 2>&1; then
                translate "$module" <"$log"
        else
                translate "$module" <"$log"
                # It did not build, or a race was found after the last test.
                if ((tap_failures == failures)); then
                        tap_not_ok "$module passes go test"
                fi
        fi
}

packages_install build
build_make_package
export MOUNTATD=$build_package/daemon/mountatd

for file in "$repository"/client/{*,*/*}/go.mod; do
        module=$(dirname "$file")
        test_module "${module#"$repository"/}"
done
tap_done
