#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The manual pages are formatted without warnings, and agree with the programs and the header. Prints TAP.

set -euo pipefail
export LC_ALL=C.UTF-8

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/go.sh"

sources=$repository/man

# mandoc warns of empty paragraphs, which scdoc generates.
page_is_clean() {
        local complaints

        complaints=$(mandoc -T lint -W warning "$manual/$1" |
                grep -v 'WARNING: skipping paragraph macro: PP' || true)
        complaints+=$(groff -Kutf8 -man -Tutf8 -ww -z "$manual/$1" 2>&1)
        tap_equal "$complaints" ""
        tap_contains "$(head -n 20 "$sources/$1.scd")" "# NAME"
}

# The options in `PROGRAM --help`, and those with a paragraph on the page.
options_of_help() {
        "$build_package/$1" --help | grep -oE '^  --[a-z-]+' | tr -d ' ' | sort
}

options_of_page() {
        grep -E '^\*--' "$sources/$1.scd" | grep -oE '\*--[a-z-]+' | tr -d '*' | sort
}

options_agree() {
        local wanted

        wanted=$(options_of_help "$1")
        [[ $wanted ]]
        tap_equal "$(options_of_page "$2")" "$wanted"
}

# Go prints help to standard error, with one dash per option and the text on the lines below.
runner_help() {
        "$build_package/client/buildbarn/mountat-runner" --help 2>&1 | sed 's/^  -/  --/'
}

runner_options_agree() {
        local wanted

        wanted=$({ runner_help | grep -oE '^  --[a-z-]+' | tr -d ' ' && echo --help; } | sort)
        tap_contains "$wanted" --listen
        tap_equal "$(options_of_page mountat-runner.8)" "$wanted"
}

runner_defaults_agree() {
        local wanted

        wanted=$(runner_help | awk '/^  --/ { option = $1 }
                match($0, /\(default [0-9a-z]+/) {
                        print option, substr($0, RSTART + 9, RLENGTH - 9)
                }')
        tap_contains "$wanted" "--mount-timeout 5s"
        tap_equal "$(defaults_of_page mountat-runner.8)" "$(sort <<<"$wanted")"
}

# "--max-mounts 16384": a line per option whose help ends in "(default 16384 …". On the page the default is
# in the option's paragraph.
defaults_of_help() {
        "$build_package/daemon/mountatd" --help |
                sed -nE 's/^  (--[a-z-]+).*\(default ([0-9a-z]+)[^0-9a-z].*/\1 \2/p' | sort
}

defaults_of_page() {
        awk '/^\*--/ { sub(/^\*/, ""); sub(/\*.*/, ""); option = $0 }
             /^#/ { option = "" }
             option && match($0, /\(default [0-9a-z]+/) {
                     print option, substr($0, RSTART + 9, RLENGTH - 9)
             }' "$sources/$1.scd" | sort
}

defaults_agree() {
        local wanted

        wanted=$(defaults_of_help)
        [[ $wanted ]]
        tap_equal "$(defaults_of_page mountatd.8)" "$wanted"
}

commands_agree() {
        local wanted

        wanted=$("$build_package/client/mountatctl" --help |
                sed -nE 's/^(Usage:| {6}) mountatctl ([a-z]+).*/\2/p' | sort)
        [[ $wanted ]]
        tap_equal "$(sed -nE 's/^\*mountatctl ([a-z]+)\*.*/\1/p' "$sources/mountatctl.1.scd" |
                sort)" "$wanted"
}

# The declarations, one per line, without comments.
declarations() {
        gcc -E -P -x c - <"$repository/client/mountat.h" 2>/dev/null | tr -s ' \n' ' ' | sed 's/;/;\n/g' |
                grep -oE '[a-z0-9_ ]*\*?mountat_[a-z_]+\(.*\);' | sed 's/^ *//'
}

# Each function has a page of its name, for man(1), with the header's declaration.
functions_are_described() {
        local synopses line function

        synopses=$(sed -nE 's/^\*(.*;)\*$/\1/p' "$sources"/*.3.scd | sed -E 's/\\\*/@/g
                s/\*( ?)_([a-z_]+)_\*/\1\2/g; s/@/*/g')
        tap_equal "$(sort <<<"$synopses")" "$(declarations | sort)"
        while IFS= read -r line; do
                function=$(grep -oE 'mountat_[a-z_]+\(' <<<"$line" | tr -d '(')
                tap_contains "$(ls "$manual")" "$function.3"
        done <<<"$synopses"
}

# References to our own pages lead to existing ones.
references_lead_somewhere() {
        local reference name

        for reference in $(grep -ohE '\*(mountat|libmountat|org\.mountat1)[a-z_-]*\*\([0-9]\)' \
                "$sources"/*.scd | sort -u); do
                name=$(sed -E 's/[*)]//g; s/\(/./' <<<"$reference")
                [[ -e $manual/$name || -e $sources/$name.scd ]] || tap_contains "$(ls "$manual")" "$name"
        done
}

example_compiles() {
        sed -n '/^# EXAMPLES/,/^# /{ /^```/,/^```/{ /^```/d; s/\\\\/\\/g; p } }' \
                "$sources/libmountat.3.scd" |
                gcc -Wall -Wextra -Werror -D_GNU_SOURCE -I"$repository/client" -fsyntax-only -x c -
}

builds_without_scdoc() {
        local output

        output=$(cmake --preset release -S "$repository" -B "$without" -DSCDOC= \
                -DMOUNTATD_TESTS=OFF 2>&1)
        tap_contains "$output" "no manual pages: scdoc isn't there"
        cmake --build "$without" --target help >"$without/targets"
        ! grep -q '^manual:' "$without/targets"
}

packages_install build manual
go_prepare_runner
build_make_package "$runner_option"
manual=$build_package/man
without=$(mktemp -d)
trap 'rm -rf "$without"' EXIT
cd "$repository"

for page in "$sources"/*.scd; do
        page=$(basename "$page" .scd)
        if [[ $page == mountat-runner.8 && $runner_missing ]]; then
                tap_skip "$page" "$runner_missing"
                continue
        fi
        tap_test "$page is formatted without complaints" page_is_clean "$page"
done
tap_test "mountatd(8) has the options of --help" options_agree daemon/mountatd mountatd.8
tap_test "mountatd(8) has their defaults" defaults_agree
tap_test "mountatctl(1) has the options of --help" options_agree client/mountatctl mountatctl.1
tap_test "mountatctl(1) has its commands" commands_agree
if [[ ! $runner_missing ]]; then
        tap_test "mountat-runner(8) has the options of --help" runner_options_agree
        tap_test "mountat-runner(8) has their defaults" runner_defaults_agree
fi
tap_test "each function of the library has a page, with its declaration" functions_are_described
tap_test "references among the pages lead somewhere" references_lead_somewhere
tap_test "the library's example compiles" example_compiles
tap_test "without scdoc there is no manual, and cmake says so" builds_without_scdoc
tap_done
