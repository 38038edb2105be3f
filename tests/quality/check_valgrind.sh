#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The unit tests of the dev build in valgrind's memcheck, up to a whole request with the fake kernel: none of the
# sanitizers in use finds reads of uninitialized memory. The real daemon can't run in it: Debian 12's valgrind
# lacks fsopen(2). Prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"

# Without fdpass and connection, as valgrind manages the limit on descriptors itself; the library, which needs
# openat2(2); and privilege, seccomp and instance, which change or restrict the process that valgrind runs in.
modules=(common/{fd,wire,text,status,file_system}
        client/{arguments,failure,flag,status,table,turn}
        daemon/{policy,target,state,state_upgrade,quota,leases,leases_left,lease,lease_adopt,mount,unmount}
        daemon/{namespaces,dev,superblock,template,sweep,sweep_before,sweep_kept}
        daemon/{request,request_adopt,request_check,request_enter,request_keep}
        daemon/{thread,refusal,manager,manager_list,options,listener,log,log_line})
# shellcheck disable=SC2054 # commas are valgrind's
memcheck=(valgrind --quiet --error-exitcode=99 --leak-check=full
        --errors-for-leak-kinds=definite,indirect,possible
        --suppressions="$tests/quality/valgrind.supp")

# Check forks each test, and valgrind follows: an error becomes that test's status.
run_module() {
        local program=$repository/build/dev/tests/unit/${1%/*}/check_${1#*/}

        # A sample of check_text's characters, and of the calls that check_lease makes fail, is enough.
        CK_TIMEOUT_MULTIPLIER=10 MOUNTATD_STRIDE=1009 "${memcheck[@]}" "$program"
}

packages_install build test memcheck
mkdir -p "$build_logs"
build_make dev
tap_test_each "in memcheck" run_module "${modules[@]}"
tap_done
