#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The Markdown pages: links lead somewhere, programs in them compile and do what the page says, and the
# tables of modules and fixtures are complete. Needs root; prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"

readme_lines_max=220

links_lead_somewhere() {
        tap_equal "$(python3 "$tests/quality/pages.py" "$repository")" ""
}

# A check that can't fail is none.
broken_links_are_found() {
        mkdir -p "$scratch/pages/doc"
        # shellcheck disable=SC2016 # backquotes of Markdown
        printf '# One two\n## `C`, and more\n[a](doc/b.md#x)\n[c](#one-two)\n[d](#c-and-more)\n' \
                >"$scratch/pages/a.md"
        # shellcheck disable=SC2016 # backquotes of Markdown
        printf '# X\n[a](../none.md) [b](../a.md#none) [c](../../etc) `[d](code.md)`\n```\n[e](e.md)\n```\n' \
                >"$scratch/pages/doc/b.md"
        tap_equal "$(python3 "$tests/quality/pages.py" "$scratch/pages")" \
                'doc/b.md: ../none.md is not there
doc/b.md: ../a.md#none has no such heading
doc/b.md: ../../etc leaves the repository'
}

readme_is_short() {
        tap_equal "$(awk -v max="$readme_lines_max" 'END { if (NR > max) print NR " lines" }' \
                "$repository/README.md")" ""
}

modules_have_their_row() {
        local header name missing=()

        for header in "$repository"/{common,daemon}/*.h; do
                name=$(basename "$header" .h)
                if [[ $name != state_private ]] &&
                        ! grep -qE "^\| [0-9] \| [^|]*\b$name(\.h)?\b[^|]* \|" \
                                "$repository/doc/design.md"; then
                        missing+=("$name")
                fi
        done
        tap_equal "${missing[*]}" ""
}

fixtures_have_their_row() {
        local name missing=()

        while IFS= read -r name; do
                if ! grep -qE "^\|[^|]*\`$name\`[^|]*\|" "$tests/README.md"; then
                        missing+=("$name")
                fi
        done < <(sed -nE 's|^#include "tests/fixtures/(.*)\.h"$|\1|p' "$tests/test.h")
        tap_equal "${missing[*]}" ""
}

# program PAGE START: the block of C in the page whose first line begins so.
program() {
        awk -v start="$2" '/^```c$/ { getline; inside = index($0, start) == 1 }
                /^```$/ { inside = 0 } inside' "$repository/$1"
}

readme_program_compiles() {
        {
                printf '#include <%s>\n' err.h fcntl.h mountat.h stdlib.h
                echo 'void example(void); void example(void) {'
                program README.md 'struct mountat'
                echo '}'
        } >"$scratch/readme.c"
        [[ $(wc -l <"$scratch/readme.c") -gt 10 ]]
        gcc -std=gnu17 -Wall -Wextra -Werror -D_GNU_SOURCE -I"$repository/client" -fsyntax-only \
                "$scratch/readme.c"
}

unmountat_compiles() {
        program doc/unmountat.md '/* Detaches' >"$scratch/unmountat.c"
        gcc -std=c17 -Wall -Wextra -Werror -pthread -o "$scratch/unmountat" "$scratch/unmountat.c"
}

# in_namespace COMMANDS: in a mount namespace with a tmpfs on $place, and unmountat in PATH.
in_namespace() {
        # shellcheck disable=SC2016 # for the shell in the namespace
        PATH=$scratch:$PATH place=$scratch/place unshare --mount --propagation private -- \
                bash -euc 'mount -t tmpfs below "$place"; '"$1"
}

unmountat_detaches() {
        # A process that sits in there doesn't keep the directory.
        # shellcheck disable=SC2016 # for the shell in the namespace
        in_namespace 'mkdir "$place/a"; mount -t tmpfs busy "$place/a"
                (cd "$place/a" && exec sleep 60) &
                until [[ $(readlink "/proc/$!/cwd") == "$place/a" ]]; do :; done
                unmountat "$place/a"; [[ -z $(findmnt --source busy) ]]; rmdir "$place/a"; kill $!'
}

unmountat_takes_only_one() {
        # shellcheck disable=SC2016 # for the shell in the namespace
        in_namespace 'mkdir "$place/a"; mount -t tmpfs first "$place/a"; mount -t tmpfs second "$place/a"
                unmountat "$place/a"; [[ -z $(findmnt --source second) ]]; findmnt --source first'
}

unmountat_refuses_plain_directory() {
        local output

        # shellcheck disable=SC2016 # for the shell in the namespace
        output=$(in_namespace 'mkdir "$place/a"; unmountat "$place/a" 2>&1 || true; findmnt --source below >/dev/null')
        tap_contains "$output" "Invalid argument"
}

packages_install build test
scratch=$(mktemp --directory)
trap 'rm --recursive --force "$scratch"' EXIT
mkdir "$scratch/place"

tap_test "links lead somewhere" links_lead_somewhere
tap_test "broken links are found" broken_links_are_found
tap_test "README.md has at most $readme_lines_max lines" readme_is_short
tap_test "doc/design.md has a row for each module" modules_have_their_row
tap_test "tests/README.md has a row for each fixture" fixtures_have_their_row
tap_test "README.md's example in C compiles" readme_program_compiles
tap_test "doc/unmountat.md's program compiles" unmountat_compiles
tap_test "it detaches a mount that is busy" unmountat_detaches
tap_test "it takes the topmost mount and leaves the one below" unmountat_takes_only_one
tap_test "it refuses a directory that is no mount" unmountat_refuses_plain_directory
tap_done
