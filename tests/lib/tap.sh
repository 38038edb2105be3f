# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Tests in bash that print the Test Anything Protocol to standard output.

tap_count=0
tap_failures=0

tap_ok() {
        echo "ok $((++tap_count)) - $1"
}

tap_not_ok() {
        tap_failures=$((tap_failures + 1))
        echo "not ok $((++tap_count)) - $1"
}

# tap_skip NAME REASON. With CI=true a skip is a failure, unless the reason begins with "impossible here:",
# that is, nothing that the tests could install would help.
tap_skip() {
        echo "ok $((++tap_count)) - $1 # SKIP $2"
}

# tap_test NAME COMMAND…: passes if the command succeeds, else shows its output. A function ends at its
# first failing command.
tap_test() {
        # Long names, since the called function sees these variables.
        local tap_name=$1 tap_output tap_status

        shift
        # Not in an `if`: errexit has no effect in its condition, nor in functions called there.
        set +e
        tap_output=$(
                set -e
                "$@" 2>&1
        )
        tap_status=$?
        set -e
        if ((tap_status == 0)); then
                tap_ok "$tap_name"
        else
                tap_not_ok "$tap_name"
                sed 's/^/# /' <<<"${tap_output:-status $tap_status}"
        fi
}

# tap_test_each WHAT FUNCTION NAME…: for each NAME a test "NAME WHAT" that passes if FUNCTION NAME succeeds.
# As many run concurrently as there are processors; results are printed in order. Not for tests that
# measure time.
tap_test_each() {
        local what=$1 function=$2 first=$((tap_count + 1)) told name number

        shift 2
        told=$(mktemp --directory)
        for name; do
                while (($(jobs -pr | wc -l) >= $(nproc))); do
                        wait -n || true
                done
                tap_test "$name $what" "$function" "$name" >"$told/$((tap_count + 1))" &
                tap_count=$((tap_count + 1))
        done
        wait
        for ((number = first; number <= tap_count; number++)); do
                cat "$told/$number"
                if grep -q '^not ok ' "$told/$number"; then
                        tap_failures=$((tap_failures + 1))
                fi
        done
        rm -r "$told"
}

# tap_retell PREFIX FILE: the tests of another one's TAP, as tests of this one's.
tap_retell() {
        local line

        while IFS= read -r line; do
                case $line in
                'ok '*) tap_ok "$1${line#ok * - }" ;;
                'not ok '*) tap_not_ok "$1${line#not ok * - }" ;;
                '1..'*) ;;
                *) echo "$line" ;;
                esac
        done <"$2"
}

# tap_contains TEXT PART: for use in a test's function.
tap_contains() {
        if [[ $1 != *"$2"* ]]; then
                echo "not in there: $2"
                echo "$1"
                return 1
        fi
}

# tap_equal GOT WANTED: for use in a test's function.
tap_equal() {
        diff --label got --label wanted -u <(echo "$1") <(echo "$2")
}

# Prints the plan. Succeeds if all tests did.
tap_done() {
        echo "1..$tap_count"
        ((tap_failures == 0))
}
