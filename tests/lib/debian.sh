# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # build.sh assigns
#
# Roots of a fresh Debian 12, by debootstrap. After packages.sh and build.sh.

debian_suite=bookworm
# The package cache of debootstrap and of apt in the roots: each package is downloaded once.
debian_archives=$repository/build/archives

# Sets debian_mirror.
debian_find_mirror() {
        debian_mirror=$(packages_mirror "$debian_suite")
        # If only apt's configuration has a proxy, debootstrap and the roots don't know it.
        if [[ ! ${http_proxy:-} ]]; then
                eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
        fi
        export http_proxy=${http_proxy:-}
}

# debian_make ROOT: a root with only what debootstrap installs. Needs debian_mirror.
debian_make() {
        local log=$build_logs/debootstrap.log

        mkdir -p "$debian_archives" "$build_logs"
        if ! debootstrap --variant=minbase --cache-dir="$debian_archives" "$debian_suite" "$1" \
                "$debian_mirror" >"$log" 2>&1; then
                tail -n 20 "$log"
                return 1
        fi
}
