# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Building into directories below build/, quietly.

repository=$(dirname "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")")
build_logs=$repository/build/logs
# shellcheck disable=SC2034 # for the scripts
build_package=$repository/build/package

# build_make PRESET: into build/PRESET. The compiler is heard only if it fails.
build_make() {
        build_logged "$1" "$1"
}

# build_make_package [CMAKE_OPTION…]: as a distribution builds it, without the tests: into
# build_package. Without mountat-runner, since most scripts don't need it.
build_make_package() {
        build_logged package release -DCMAKE_INSTALL_PREFIX=/usr -DMOUNTATD_TESTS=OFF \
                -DMOUNTATD_RUNNER=OFF "$@"
}

# build_make_deb [CMAKE_OPTION…]: and its Debian packages, beside it.
build_make_deb() {
        local log=$build_logs/deb.build.log

        build_make_package "$@"
        if ! cmake --build "$build_package" --target package >"$log" 2>&1; then
                cat "$log" >&2
                return 1
        fi
}

build_logged() {
        local name=$1 log=$build_logs/$1.build.log

        mkdir -p "$build_logs"
        if ! { build_configure "$@" && build_compile "$name"; } >"$log" 2>&1; then
                build_complain "$log" >&2
                return 1
        fi
}

# What went wrong in a log, without the steps that went well.
build_complain() {
        grep -Ev '^(\[[0-9]+/[0-9]+\] |-- )' "$1"
}

# build_configure NAME PRESET [CMAKE_OPTION…]: build/NAME.
build_configure() {
        local name=$1 preset=$2

        shift 2
        # Presets are looked for in the working directory.
        (cd "$repository" && cmake --preset "$preset" -B "$repository/build/$name" "$@")
}

build_compile() {
        cmake --build "$repository/build/$1" --parallel "$(nproc)"
}

# What root builds in somebody's checkout stays theirs to remove.
build_give_back() {
        if [[ -d $repository/build ]]; then
                chown --recursive --reference="$repository" "$repository/build"
        fi
}
