#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/../..
#
# The results of `go test` for the Go modules, as TAP. Needs root, for the real daemon. Cached results aren't
# used, since go doesn't know that the tests depend on the daemon.

set -euo pipefail

tests=$(dirname "$(dirname "$(dirname "$(realpath "$0")")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/go.sh"

# Translates the result lines of `go test -v`. Subtests are indented, and part of their test. Depending on the
# version, the reason of a skip is before or after its line; the log has it.
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
                # It didn't build, or there was a race after the last test.
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
