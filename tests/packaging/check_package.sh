#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The Debian packages: what is in which, and what lintian says. Prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"

# With its overrides, which have a reason each in package/overrides.
lintian_is_content() {
        lintian --allow-root --fail-on error,warning "$build_package"/*_"$version"_*.deb
}

# An override that isn't needed any more would hide what comes later.
overrides_are_needed() {
        local output

        output=$(lintian --allow-root --fail-on none --display-info \
                "$build_package"/*_"$version"_*.deb)
        ! grep -E '(unused|mismatched)-override' <<<"$output"
}

# All that `cmake --install` has is in one package, and in one alone.
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

# Whoever changed /etc/default/mountatd is asked before it is replaced.
options_are_a_conffile() {
        dpkg-deb --info "$build_package/mountatd_${version}_$architecture.deb" conffiles |
                grep -qx /etc/default/mountatd
}

packages_install build manual package
rm -f "$build_package"/*.deb
build_make_deb
version=$(sed -nE 's/^project\(mountatd VERSION ([0-9.]+) .*/\1/p' "$repository/CMakeLists.txt")
architecture=$(dpkg --print-architecture)
staged=$(mktemp -d)
trap 'rm -rf "$staged"; build_give_back' EXIT
DESTDIR=$staged cmake --install "$build_package" >/dev/null

tap_test "lintian has neither errors nor warnings" lintian_is_content
tap_test "each override is needed" overrides_are_needed
tap_test "the packages share out what is installed" packages_share_out_what_is_installed
tap_test "the library is apart from the daemon" library_is_apart
tap_test "the service's options are a configuration file" options_are_a_conffile
tap_done
