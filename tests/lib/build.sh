# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Building a preset into build/PRESET, quietly.

repository=$(dirname "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")")
build_logs=$repository/build/logs

# build_make PRESET [CMAKE_OPTION…]: configures and builds; the compiler is heard only if it fails.
build_make() {
        build_make_at "$1" "$@"
}

# build_make_at NAME PRESET [CMAKE_OPTION…]: the same, into build/NAME.
build_make_at() {
        local name=$1 preset=$2 log=$build_logs/$1.build.log

        shift 2
        mkdir -p "$build_logs"
        if ! { build_configure "$name" "$preset" "$@" && build_compile "$name"; } >"$log" 2>&1; then
                cat "$log" >&2
                return 1
        fi
}

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
