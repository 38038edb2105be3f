#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The modules' tests of the dev build in valgrind's memcheck, up to a whole request over the fake
# kernel: what is read before it was written is seen by no sanitizer that is used here. The real
# daemon can't be run in there: Debian 12's valgrind knows no fsopen(2). Prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"

# Not fdpass and connection, whose limit on descriptors valgrind keeps for itself; not the library,
# for openat2(2); not privilege, seccomp and instance, whose processes are what valgrind would have to
# be.
modules=(common/{wire,text,status,file_system}
        daemon/{policy,target,state,state_upgrade,quota,leases,lease,mount,unmount,namespaces,dev,template,sweep}
        daemon/{request,thread,refusal,manager,bus_questions,options,listener,log,log_line})
# shellcheck disable=SC2054 # commas are valgrind's
memcheck=(valgrind --quiet --error-exitcode=99 --leak-check=full
        --errors-for-leak-kinds=definite,indirect,possible
        --suppressions="$tests/quality/valgrind.supp")

# Check forks each test, and valgrind follows: what it finds becomes that test's status.
run_module() {
        local program=$repository/build/dev/tests/unit/${1%/*}/check_${1#*/}

        # A few of the characters that check_text compares do, and of the calls that check_lease fails.
        CK_TIMEOUT_MULTIPLIER=10 MOUNTATD_STRIDE=1009 "${memcheck[@]}" "$program"
}

packages_install build test memcheck
mkdir -p "$build_logs"
build_make dev
tap_test_each "in memcheck" run_module "${modules[@]}"
tap_done
