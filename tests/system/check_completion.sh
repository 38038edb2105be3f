#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# What shells offer for mountatctl, against what mountatctl takes. Prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$repository/client/completion/mountatctl.bash"

program=$repository/build/dev/client/mountatctl
zsh_file=$repository/client/completion/mountatctl.zsh

# Outside of a completion there is none.
compopt() {
        :
}

# What the completion asks for leases.
mountatctl() {
        echo "0123456789abcdef 60001 4711 bus 3 proc,sysfs /srv/root"
        echo "0fedcba987654321 60001 4712 socket 3 proc,sysfs /srv/other"
}

id() {
        echo "$user"
}

user=60001

# offered WORD…: what bash offers for the last of them, sorted.
offered() {
        COMP_WORDS=(mountatctl "$@")
        COMP_CWORD=$#
        _mountatctl
        printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"} | sort
}

# The commands and options that mountatctl tells of.
commands() {
        "$program" --help | sed -nE 's/^(Usage:|      ) mountatctl ([a-z]+).*/\2/p'
}

options() {
        "$program" --help | sed -nE 's/^  (--[a-z-]+),? .*/\1/p'
}

every_command_is_offered() {
        tap_equal "$(offered '')" "$({
                commands
                printf '%s\n' --help --version
        } | sort)"
}

# accepts COMMAND OPTION: whether mountatctl does.
accepts() {
        local value

        case $2 in
        --json) value=short ;;
        --file-system) value=proc ;;
        --socket | --timeout) value=1 ;;
        *) value= ;;
        esac
        "$program" "$1" "$2" ${value:+"$value"} --help >/dev/null 2>&1
}

options_are_those_that_are_accepted() {
        local command option accepted

        while read -r command; do
                accepted=$(while read -r option; do
                        if accepts "$command" "$option"; then
                                echo "$option"
                        fi
                done < <(options) | sort)
                tap_equal "$command: $(offered "$command" --)" "$command: $accepted"
        done < <(commands)
}

values_are_offered() {
        tap_equal "$(offered list --json '')" "$(printf '%s\n' off pretty short)"
        tap_equal "$(offered mount --file-system '')" "$(printf '%s\n' dev proc sysfs)"
}

leases_and_directories_are_offered() {
        cd "$repository"
        tap_equal "$(offered unmount 0)" 0123456789abcdef
        tap_equal "$(user=0 && offered unmount 0)" "$(printf '%s\n' 0123456789abcdef 0fedcba987654321)"
        tap_equal "$(offered unmount daem)" daemon
        tap_equal "$(offered mount daem)" daemon
}

zsh_knows_them_all() {
        local text word

        text=$(<"$zsh_file")
        while read -r word; do
                tap_contains "$text" "'$word:"
        done < <(commands)
        while read -r word; do
                tap_contains "$text" "$word"
        done < <(options)
}

build_make dev
tap_test "bash: every command is offered" every_command_is_offered
tap_test "bash: a command's options are those that it accepts" options_are_those_that_are_accepted
tap_test "bash: values are offered" values_are_offered
tap_test "bash: leases and directories are offered" leases_and_directories_are_offered
tap_test "zsh: every command and option is there" zsh_knows_them_all
if command -v zsh >/dev/null; then
        tap_test "zsh: the file can be read" zsh -n "$zsh_file"
else
        tap_skip "zsh: the file can be read" "zsh is not installed"
fi
tap_done
