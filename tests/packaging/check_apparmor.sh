#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The AppArmor profile of mountatctl: AppArmor's parser reads it, and it is installed only if the parser
# can. Nothing is loaded into the kernel. Prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"

parser=/usr/sbin/apparmor_parser

# parse FILE: parses it as at boot, without loading it.
parse() {
        "$parser" --skip-kernel-load --skip-cache "$1"
}

parser_version() {
        "$parser" --version | sed -nE 's/^AppArmor parser version ([0-9]+)\..*/\1/p'
}

# Both indicate support for the rule `userns`, new in AppArmor 4.
parser_knows_the_rule() {
        (($(parser_version) >= 4))
}

profile_is_read() {
        parse "$1"
}

# An older parser refuses the profile, so it must not be installed there. The parser still checks the rest.
older_parser_reads_the_rest() {
        local older=$area/older

        if parse "$1" 2>/dev/null; then
                echo "it is read by a parser of version $(parser_version)"
                return 1
        fi
        sed 's/<abi\/4\.0>/<abi\/3.0>/; /^ *userns,$/d' "$1" >"$older"
        parse "$older"
}

# Reads the directory with the profile as at boot.
boot_reads_the_directory() {
        cp -r /etc/apparmor.d "$area/apparmor.d"
        if [[ -e $area/default/etc/apparmor.d/mountatctl ]]; then
                cp "$area/default/etc/apparmor.d/mountatctl" "$area/apparmor.d"
        fi
        "$parser" --skip-kernel-load --skip-cache --base "$area/apparmor.d" "$area/apparmor.d"
}

# It attaches by path.
profile_names_the_program() {
        local program

        program=$(sed -nE 's/^profile mountatctl ([^ ]+) .*/\1/p' "$1")
        tap_equal "$program" /usr/bin/mountatctl
        [[ -x $area/in-place$program ]]
}

package_owns_it() {
        local package

        package=$(echo "$build"/mountatd_*.deb)
        dpkg-deb --info "$package" conffiles | grep -qx /etc/apparmor.d/mountatctl
        tap_equal "$(dpkg-deb --field "$package" Breaks)" "apparmor (<< 4.0~)"
        tap_contains "$(dpkg-deb --contents "$package")" ./etc/apparmor.d/mountatctl
        lintian --allow-root --fail-on error,warning "$package"
}

packages_install build manual package lint
packages_install apparmor || true
build=$repository/build/package-apparmor
rm -f "$build"/*.deb
build_make_package
build_logged package-apparmor build_configure package-apparmor release \
        -DCMAKE_INSTALL_PREFIX=/usr -DMOUNTATD_TESTS=OFF -DMOUNTATD_APPARMOR=ON
build_logged package-apparmor build_compile package-apparmor package
area=$(mktemp -d)
trap 'rm -rf "$area"; build_give_back' EXIT
DESTDIR=$area/default cmake --install "$build_package" >/dev/null
DESTDIR=$area/in-place cmake --install "$build" >/dev/null
profile=$area/in-place/etc/apparmor.d/mountatctl

tap_test "the profile attaches to the program that is installed" profile_names_the_program "$profile"
tap_test "as a file of the package, it is a configuration file" package_owns_it
if [[ ! -x $parser ]]; then
        tap_skip "the profile is read" "impossible here: there is no apparmor_parser"
        tap_skip "AppArmor's directory is read" "impossible here: there is no apparmor_parser"
elif parser_knows_the_rule; then
        tap_test "the profile is read" profile_is_read "$profile"
        tap_test "AppArmor's directory is read" boot_reads_the_directory
else
        tap_test "an older parser refuses the profile, and takes the rest of it" \
                older_parser_reads_the_rest "$profile"
        tap_skip "the profile is read" \
                "impossible here: apparmor_parser $(parser_version) is older than user namespaces"
        tap_test "AppArmor's directory is read" boot_reads_the_directory
fi
tap_done
