# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Building into directories below build/, quietly.

repository=$(dirname "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")")
build_logs=$repository/build/logs
# shellcheck disable=SC2034 # for the scripts
build_package=$repository/build/package
build_previous=$repository/build/previous
build_previous_commit=9f0e206de60a42447ed1072083bf4c252307fba5 # 0.1

# build_make PRESET [TARGET…]: into build/PRESET.
build_make() {
        build_logged "$1" build_configure "$1" "$1" && build_logged "$1" build_compile "$@"
}

# build_make_package [CMAKE_OPTION…]: builds it like a distribution, without the tests, into
# build_package, a directory of its own with mountat-runner, which most scripts don't need.
build_make_package() {
        local name=package

        if [[ " $* " == *' -DMOUNTATD_RUNNER=ON '* ]]; then
                name=package-runner
        fi
        build_package=$repository/build/$name
        build_logged "$name" build_configure "$name" release -DCMAKE_INSTALL_PREFIX=/usr \
                -DMOUNTATD_TESTS=OFF -DMOUNTATD_RUNNER=OFF "$@" &&
                build_logged "$name" build_compile "$name"
}

# build_make_deb [CMAKE_OPTION…]: builds the Debian packages too, in the same directory.
build_make_deb() {
        build_make_package "$@" && build_logged deb build_compile "${build_package##*/}" package
}

# Why the release before this one can't be built here; nothing if it can.
build_previous_why_not() {
        if ! build_git cat-file -e "$build_previous_commit" 2>/dev/null; then
                echo "impossible here: the release before this one is not in the history"
        fi
}

# build_extract_previous DIRECTORY: its sources.
build_extract_previous() {
        rm -rf "$1"
        mkdir -p "$1"
        build_git archive "$build_previous_commit" | tar -x -C "$1"
}

# Its Debian packages, in build_previous/build, without mountat-runner.
build_make_previous_deb() {
        build_logged previous build_previous_deb
}

build_previous_deb() {
        build_extract_previous "$build_previous" &&
                (cd "$build_previous" && cmake --preset release -B build \
                        -DCMAKE_INSTALL_PREFIX=/usr -DMOUNTATD_TESTS=OFF) &&
                cmake --build "$build_previous/build" --parallel "$(nproc)" &&
                cmake --build "$build_previous/build" --target package
}

# Root's git refuses to look at somebody's checkout.
build_git() {
        git -c safe.directory="$repository" -C "$repository" "$@"
}

# build_logged NAME COMMAND…: shows what the command printed if it fails. One at a time, since tests
# that run side by side may want the same build.
build_logged() {
        local log=$build_logs/$1.build.log

        mkdir -p "$build_logs"
        if ! (flock 9 && "${@:2}") 9<"$repository/CMakePresets.json" >"$log" 2>&1; then
                build_complain "$log" >&2
                return 1
        fi
}

# Prints a log without the steps that succeeded.
build_complain() {
        grep -Ev '^(\[[0-9]+/[0-9]+\] |-- )' "$1"
}

# build_configure NAME PRESET [CMAKE_OPTION…]: build/NAME.
build_configure() {
        local name=$1 preset=$2

        shift 2
        # cmake looks for presets in the working directory.
        (cd "$repository" && cmake --preset "$preset" -B "$repository/build/$name" "$@")
}

# build_compile NAME [TARGET…]
build_compile() {
        cmake --build "$repository/build/$1" --parallel "$(nproc)" ${2:+--target "${@:2}"}
}

# Files that root builds in another user's checkout must stay removable by that user. A test that runs
# beside this one may remove some of them meanwhile.
build_give_back() {
        if [[ -d $repository/build && ! -O $repository ]]; then
                chown --recursive --silent --reference="$repository" "$repository/build" || true
        fi
}
