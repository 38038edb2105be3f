#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# Static analysis: gcc's -fanalyzer, clang-tidy, scan-build and cppcheck. Each finding has been fixed, or is a
# false positive listed below. Prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"

build=$repository/build/analysis

# False positives: the tool, the file, the finding, the reason. .clang-tidy lists disabled checks. "errno": the
# tool assumes that errno may be 0 after a failed call.
answers() {
        cat <<'END'
gcc   daemon/connection.c -Wanalyzer-malloc-leak  it is its thread's, which frees it
gcc   daemon/quota.c      -Wanalyzer-malloc-leak  tsearch(3) has put it into the tree
clang client/mountat.c    core.CallAndMessage     errno
clang client/mountat.c    core.NullDereference    errno
clang daemon/state.c      core.NullDereference    errno
clang daemon/manager.c    unix.Malloc             call_end() has taken it out of the list
cppcheck client/holding.c  uninitvar     what is copied has been filled, item by item
cppcheck daemon/log_line.c ctuuninitvar  vsnprintf(3) fills it
END
}

# Prints the findings of TOOL on standard input, as "FILE WHAT", that aren't listed above.
unanswered() {
        local tool=$1

        sort -u | grep -vxFf <(answers | awk -v tool="$tool" '$1 == tool { print $2, $3 }') || true
}

# quiet TOOL LOG
quiet() {
        local findings

        findings=$(unanswered "$1")
        if [[ $findings ]]; then
                echo "$findings"
                grep -E 'warning|error|[a-z]+\.c ' "$2" | tail -n 50
                return 1
        fi
}

gcc_analyses() {
        local file log=$build_logs/analysis.gcc.log
        local -a flags

        read -ra flags <<<"$(pkg-config --cflags libsystemd libcap libseccomp)"
        for file in "${sources[@]}"; do
                gcc -std=gnu17 -D_GNU_SOURCE -I. -Iclient -DMOUNTATD_VERSION='""' "${flags[@]}" \
                        -O2 -fanalyzer -c "$file" -o /dev/null
        done >"$log" 2>&1
        sed -nE 's/^([a-z_/]+\.c):.* warning: .*\[(-W[a-z-]+)\]$/\1 \2/p' "$log" | quiet gcc "$log"
}

# For clang-tidy and scan-build, which share an analyser.
clang_findings() {
        sed -nE "s|^$repository/([a-z_/]+\\.c):.* (warning\|error): .*\\[(clang-analyzer-)?([A-Za-z.-]+)\\]\$|\\1 \\4|p" \
                "$1"
}

clang_tidies() {
        local log=$build_logs/analysis.clang-tidy.log

        printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -n 8 clang-tidy -p "$build" --quiet \
                >"$log" 2>"$log.errors" || grep -q 'warnings\? generated' "$log.errors"
        clang_findings "$log" | quiet clang "$log"
}

scan_builds() {
        local log=$build_logs/analysis.scan-build.log

        rm -rf "$build.scan"
        scan-build -o "$build.scan/reports" -disable-checker valist.Uninitialized \
                sh -c "cmake -S . -B '$build.scan' -DCMAKE_BUILD_TYPE=Debug -DMOUNTATD_TESTS=OFF \
                        -DMOUNTATD_RUNNER=OFF &&
                        cmake --build '$build.scan' -j$(nproc)" >"$log" 2>&1
        grep -q 'scan-build: Analysis run complete' "$log"
        clang_findings "$log" | quiet clang "$log"
}

# Their macros define structs, and cppcheck doesn't read system headers.
queue_header() {
        gcc -M -x c - <<<'#include <sys/queue.h>' | grep -o '/[^ ]*sys/queue\.h'
}

cppcheck_checks() {
        local log=$build_logs/analysis.cppcheck.log

        cppcheck --quiet --enable=warning,performance,portability --std=c11 -j "$(nproc)" \
                -D_GNU_SOURCE -D__linux__ -I. -Iclient --include="$(queue_header)" --template='{file} {id} {line} {message}' \
                "${sources[@]}" 2>"$log"
        cut -d ' ' -f 1,2 "$log" | quiet cppcheck "$log"
}

cd "$repository"
mapfile -t sources < <(printf '%s\n' common/*.c daemon/*.c client/*.c)
packages_install build analysis
mkdir -p "$build_logs"
cmake --preset clang -B "$build" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >"$build_logs/analysis.log" 2>&1

tap_test 'gcc -fanalyzer' gcc_analyses
tap_test 'clang-tidy' clang_tidies
tap_test 'scan-build' scan_builds
tap_test 'cppcheck' cppcheck_checks
tap_done
