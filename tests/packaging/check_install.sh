#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# `cmake --install` as a distribution's packager calls it: which files it installs where, and that systemd,
# pkg-config and the linker accept them. It installs into an overlay of the host's root, so the host doesn't
# change. Needs root; prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/root.sh"
. "$tests/lib/go.sh"

# The host's directories of units and libraries.
find_directories() {
        unit_directory=$(pkg-config --variable=systemdsystemunitdir systemd)
        sysusers_directory=$(pkg-config --variable=sysusersdir systemd)
        catalog_directory=$(pkg-config --variable=catalogdir systemd)
        library_directory=/usr/lib/$(gcc -print-multiarch)
        version=$(sed -nE 's/^project\(mountatd VERSION ([0-9.]+) .*/\1/p' \
                "$repository/CMakeLists.txt")
}

# First into an empty directory, to list the files.
stage() {
        staged=$root_area/staged
        DESTDIR=$staged cmake --install "$build_package" >"$root_area/install.log"
        DESTDIR=$root cmake --install "$build_package" >"$root_area/install.log"
        mount -t proc proc "$root/proc"
}

# One manual page each.
library_functions() {
        grep -oE '\bmountat_[a-z_]+\(' "$repository/client/mountat.h" | tr -d '(' | sort -u
}

# See apparmor/CMakeLists.txt, and check_apparmor.sh.
profile_directory() {
        if [[ -e /etc/apparmor.d/abi/4.0 ]]; then
                echo /etc/apparmor.d
        else
                echo /usr/share/doc/mountatd/examples/apparmor
        fi
}

# shellcheck disable=SC2046 # it is words
expected_files() {
        sort <<EXPECTED
/etc/default/mountatd
$(profile_directory)/mountatctl
/usr/bin/mountatctl
/usr/share/bash-completion/completions/mountatctl
/usr/share/dbus-1/system-services/org.mountat1.service
/usr/share/dbus-1/system.d/org.mountat1.conf
/usr/share/polkit-1/actions/org.mountat1.policy
/usr/share/zsh/vendor-completions/_mountatctl
/usr/include/mountat.h
/usr/libexec/mountatd
$library_directory/libmountat.a
$library_directory/libmountat.so
$library_directory/libmountat.so.0
$library_directory/libmountat.so.$version
$library_directory/pkgconfig/mountat.pc
$(printf "/usr/share/doc/mountatd/examples/join/%s\n" mountatd-join.socket mountatd.service.conf)
$(printf "/usr/share/doc/mountatd/examples/user/%s\n" mountatd.service.conf mountatd.sysusers \
        org.mountat1.conf)
/usr/share/man/man1/mountatctl.1
$(printf '/usr/share/man/man3/%s.3\n' libmountat mountat_error $(library_functions))
/usr/share/man/man5/org.mountat1.5
/usr/share/man/man8/mountatd.8
$catalog_directory/mountatd.catalog
$sysusers_directory/mountatd.conf
$unit_directory/mountatd.service
$unit_directory/mountatd.socket
$(runner_files)
EXPECTED
}

runner_files() {
        if [[ ! $runner_missing ]]; then
                cat <<EXPECTED
/etc/default/mountat-runner
/usr/sbin/mountat-runner
/usr/share/bash-completion/completions/mountat-runner
/usr/share/man/man8/mountat-runner.8
/usr/share/zsh/vendor-completions/_mountat-runner
$sysusers_directory/mountat-runner.conf
$unit_directory/mountat-runner.service
EXPECTED
        fi
}

files_are_in_place() {
        tap_equal "$(find "$staged" ! -type d -printf '/%P\n' | sort)" \
                "$(expected_files | grep .)"
}

programs_start() {
        local program

        for program in libexec/mountatd bin/mountatctl; do
                tap_equal "$(chroot "$root" "/usr/$program" --version)" \
                        "$(printf '%s\n' "${program#*/} $version" "+ASSERT -SANITIZE")"
        done
}

units_verify() {
        chroot "$root" systemd-sysusers "$sysusers_directory/mountatd.conf"
        tap_equal "$(chroot "$root" systemd-analyze verify \
                "$unit_directory/mountatd.service" "$unit_directory/mountatd.socket" 2>&1)" ""
}

# The message ids in the daemon's source must be those in the catalog.
events_are_explained() {
        tap_equal "$(sed -nE 's/^-- ([0-9a-f]{32})$/\1/p' "$root$catalog_directory/mountatd.catalog")" \
                "$(sed -nE 's/^ *\[LOG_EVENT_.*= "([0-9a-f]{32})",$/\1/p' "$repository/daemon/log_line.c")"
        chroot "$root" journalctl --update-catalog
        tap_contains "$(chroot "$root" journalctl --list-catalog)" \
                "883ca9fb454741ad95521eb5dbeb3573 mountatd: A request was refused"
}

runner_starts() {
        tap_equal "$(chroot "$root" mountat-runner --version)" "mountat-runner $version"
        chroot "$root" systemd-sysusers "$sysusers_directory/mountat-runner.conf"
        tap_equal "$(chroot "$root" id --name --groups mountat-runner)" "mountat-runner mountat"
        chroot "$root" id buildbarn-action
        tap_equal "$(chroot "$root" systemd-analyze verify \
                "$unit_directory/mountat-runner.service" 2>&1)" ""
}

# Installed alone, as for a container image.
runner_is_a_component() {
        DESTDIR=$root_area/runner cmake --install "$build_package" --component runner >/dev/null
        # Includes the files that are only in its package.
        tap_equal "$(find "$root_area/runner" ! -type d -printf '/%P\n' |
                grep -vE '^/usr/share/(doc|lintian)/' | sort)" "$(runner_files | sort)"
}

builds_without_go() {
        local without=$root_area/without

        cd "$repository"
        tap_contains "$(cmake --preset release -B "$without" -DGO= \
                -DMOUNTATD_TESTS=OFF 2>&1)" "no mountat-runner: there is no Go"
        # If it was requested, cmake fails and says why.
        if cmake -B "$without" -DMOUNTATD_RUNNER=ON >"$without/log" 2>&1; then
                echo "it was configured"
                return 1
        fi
        tap_contains "$(tr -s ' \n' ' ' <"$without/log")" "mountat-runner can't be built: there is no Go"
}

group_is_made() {
        chroot "$root" systemd-sysusers "$sysusers_directory/mountatd.conf"
        chroot "$root" getent group mountat
}

library_exports_its_interface() {
        local exported

        exported=$(nm --dynamic --defined-only "$root$library_directory/libmountat.so" |
                sed -nE 's/^[0-9a-f]+ [^A] ([^@]*).*/\1/p' | sort)
        tap_equal "$exported" "$(library_functions)"
}

library_has_its_name() {
        tap_contains "$(readelf --dynamic "$root$library_directory/libmountat.so")" \
                "soname: [libmountat.so.0]"
}

# compile COMPILER SOURCE OPTION…: compiles in the overlay, with pkg-config's flags of the library.
compile() {
        local compiler=$1 source=$2 flags

        shift 2
        cp "$tests/unit/client/$source" "$root/build/$source"
        flags=$(chroot "$root" pkg-config --cflags --libs mountat)
        # shellcheck disable=SC2086 # it is words
        chroot "$root" "$compiler" -Wall -Wextra -Werror "$@" -o /build/program \
                "/build/$source" $flags
        chroot "$root" /build/program
}

root_enter_namespace "$@"
packages_install build test manual
go_prepare_runner
build_make_package "$runner_option"
find_directories

trap root_remove EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
root_make
stage

tap_test "every file is where a distribution has it" files_are_in_place
tap_test "the programs start" programs_start
tap_test "the group of the socket is made" group_is_made
tap_test "each event in the journal is explained in the catalog" events_are_explained
tap_test "systemd-analyze finds no fault in the units" units_verify
tap_test "the library exports what its header declares, and nothing else" \
        library_exports_its_interface
tap_test "the library has a SONAME" library_has_its_name
tap_test "a C program links with the library" compile gcc abi_c.c
tap_test "a C program links statically" compile gcc abi_c.c -static
tap_test "a C++ program links with the library" compile g++ abi_cxx.cc
tap_test "a C++ program links statically" compile g++ abi_cxx.cc -static
if [[ $runner_missing ]]; then
        tap_skip "mountat-runner" "$runner_missing"
else
        tap_test "mountat-runner, its users and its unit are right" runner_starts
        tap_test "it can be installed alone" runner_is_a_component
fi
tap_test "without Go there is no mountat-runner, and cmake says so" builds_without_go
tap_done
