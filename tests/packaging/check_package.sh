#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The Debian packages: their contents, and lintian's verdict. Prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/go.sh"

# With the overrides of package/overrides, each of which has a reason.
lintian_is_content() {
        lintian --allow-root --fail-on error,warning "$build_package"/*_"$version"_*.deb
}

# A stale override would hide later findings.
overrides_are_needed() {
        local output

        output=$(lintian --allow-root --fail-on none --display-info \
                "$build_package"/*_"$version"_*.deb)
        ! grep -E '(unused|mismatched)-override' <<<"$output"
}

# Each file that `cmake --install` installs is in exactly one package.
packages_share_out_what_is_installed() {
        local package

        tap_equal "$(for package in "$build_package"/*_"$version"_*.deb; do
                dpkg-deb --fsys-tarfile "$package" | tar --list | sed 's/^\.//; s/\.gz$//' |
                        grep -v '/$'
        done | grep -vE '^/usr/share/(doc/[^/]*/(changelog|copyright)|lintian/.*)$' | sort)" \
                "$(find "$staged" ! -type d -printf '/%P\n' | sort)"
}

library_is_apart() {
        local files

        files=$(dpkg-deb --contents "$build_package/libmountat0_${version}_$architecture.deb")
        tap_contains "$files" libmountat.so.0
        [[ $files != *mountat.h* && $files != *mountatctl* ]]
        tap_contains "$(dpkg-deb --field \
                "$build_package/mountatd_${version}_$architecture.deb" Depends)" libsystemd0
}

# options_are_a_conffile PACKAGE: dpkg asks before it replaces a changed /etc/default/PACKAGE.
options_are_a_conffile() {
        dpkg-deb --info "$build_package/$1_${version}_$architecture.deb" conffiles |
                grep -qx "/etc/default/$1"
}

# Not even on a C library: a copy of the program works anywhere.
runner_depends_on_no_library() {
        local package=$build_package/mountat-runner_${version}_$architecture.deb

        tap_equal "$(dpkg-deb --field "$package" Depends)" \
                "init-system-helpers (>= 1.52), systemd (>= 252)"
        tap_equal "$(dpkg-deb --field "$package" Recommends)" mountatd
}

packages_install build manual package lint
go_prepare_runner
rm -f "$build_package"/*.deb
build_make_deb "$runner_option"
version=$(sed -nE 's/^project\(mountatd VERSION ([0-9.]+) .*/\1/p' "$repository/CMakeLists.txt")
architecture=$(dpkg --print-architecture)
staged=$(mktemp -d)
trap 'rm -rf "$staged"; build_give_back' EXIT
DESTDIR=$staged cmake --install "$build_package" >/dev/null

tap_test "lintian has neither errors nor warnings" lintian_is_content
tap_test "each override is needed" overrides_are_needed
tap_test "the packages share out what is installed" packages_share_out_what_is_installed
tap_test "the library is apart from the daemon" library_is_apart
tap_test "the service's options are a configuration file" options_are_a_conffile mountatd
if [[ $runner_missing ]]; then
        tap_skip "mountat-runner's package" "$runner_missing"
else
        tap_test "mountat-runner's options are a configuration file" \
                options_are_a_conffile mountat-runner
        tap_test "mountat-runner depends on no library" runner_depends_on_no_library
fi
tap_done
