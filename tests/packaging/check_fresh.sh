#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The README promises that three commands do all their set-up on a fresh Debian 12. Each runs in its own
# root, in memory, with only what debootstrap installs, so that none benefits from another's packages, and
# in namespaces that end with it. Parts that need systemd as PID 1 aren't tested here. Needs root; prints
# TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/root.sh"
. "$tests/lib/debian.sh"

# Skips all, with one line of TAP that says why.
skip_all() {
        tap_skip "the commands on a fresh Debian" "$1"
        tap_done
        exit 0
}

# Sets area, in memory, and pristine, the root that the others are copied from.
make_area() {
        area=$(mktemp --directory --tmpdir mountatd-fresh.XXXXXXXX)
        pristine=$area/pristine
        mount -t tmpfs -o mode=0755 mountatd-test "$area"
}

make_pristine() {
        local start=$SECONDS

        debian_make "$pristine"
        echo "# debootstrap took $((SECONDS - start)) s" >&3
}

# run NAME COMMAND…: runs it in a new root. Its output goes to $area/NAME.out, standard error to NAME.err.
run() {
        local name=$1 root=$area/$1 start=$SECONDS status=0

        shift
        # A copy, not an overlay: the demonstration makes one itself, and the kernel stacks no more
        # than two.
        cp --archive "$pristine" "$root"
        debian_add_checkout "$root"
        debian_run "$root" "$@" >"$area/$name.out" 2>"$area/$name.err" </dev/null 3>&- ||
                status=$?
        echo "# tests/$name took $((SECONDS - start)) s" >&3
        rm --recursive "$root"
        if ((status != 0)); then
                echo "status $status"
                tail -n 60 "$area/$name.out" "$area/$name.err"
                return 1
        fi
}

demonstrates() {
        run demo "$debian_checkout/tests/demo"
        tap_contains "$(<"$area/demo.out")" "hello from rustc"
        tap_equal "$(tail -n 1 "$area/demo.out")" "6 passed, 0 failed, 0 skipped"
}

# One directory of tests is enough: all have the same build and list of packages. And one script that needs
# Go, since Debian 12 has none that is new enough.
tests_pass() {
        run run sh -e -c "for filter; do $debian_checkout/tests/run \$filter; done" sh \
                dev/unit/common packaging/check_package
        tap_equal "$(grep -cxE '[1-9][0-9]* passed, 0 failed, 0 skipped' "$area/run.out")" 2 || {
                cat "$area/run.out"
                return 1
        }
}

# Every row except the one that needs systemd, and the charts.
measures() {
        run bench "$debian_checkout/tests/bench/run" --quick --runs=1
        tap_equal "$(sed -nE 's/^(.*[^ ]) +not here: .*/\1/p' "$area/bench.out")" systemd-mount
        tap_equal "$(grep -v '^installing ' "$area/bench.err")" \
                "pictures: $debian_checkout/build/bench/*.svg"
}

clean_up() {
        if [[ ${area:-} ]]; then
                umount --recursive --lazy "$area" || true
                rmdir "$area" || true
        fi
        build_give_back
}

root_enter_namespace "$@"
if [[ ! $(command -v apt-get) ]]; then
        skip_all "impossible here: it takes debootstrap, and there is no apt"
elif ! packages_install fresh; then
        skip_all "debootstrap can't be installed"
fi
exec 3>&1
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
debian_find_mirror
make_area
tap_test "debootstrap makes a root" make_pristine
if ((tap_failures == 0)); then
        tap_test "tests/demo sets itself up" demonstrates
        tap_test "tests/run sets itself up" tests_pass
        tap_test "tests/bench/run sets itself up" measures
fi
tap_done
