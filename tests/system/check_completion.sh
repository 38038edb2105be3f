#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# What shells offer for mountatctl and mountat-runner, against what those take. Prints TAP.

set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/go.sh"
. "$repository/client/completion/mountatctl.bash"
. "$repository/client/completion/mountat-runner.bash"

program=$repository/build/dev/client/mountatctl
zsh_file=$repository/client/completion/mountatctl.zsh
runner_zsh_file=$repository/client/completion/mountat-runner.zsh

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

user=60502

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

# runner_offered WORD…: what bash offers for the last of them, sorted. It splits at "=" itself.
runner_offered() {
        COMP_WORDS=(mountat-runner "$@")
        COMP_CWORD=$#
        _mountat_runner
        printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"} | sort
}

# Go prints an option with one dash, and takes it with two.
runner_options() {
        echo --help
        "$build_package/client/buildbarn/mountat-runner" --help 2>&1 |
                sed -nE 's/^  -([a-z-]+).*/--\1/p'
}

runner_options_are_offered() {
        tap_contains "$(runner_options)" --listen
        tap_equal "$(runner_offered --)" "$(runner_options | sort)"
        tap_equal "$(runner_offered --listen = /run/x --r)" \
                "$(printf '%s\n' --release-timeout --runner)"
        tap_equal "$(runner_offered --version '')" "$(runner_options | sort)"
}

runner_values_are_offered() {
        cd "$repository"
        tap_equal "$(runner_offered --mount = '')" "$(printf '%s\n' dev pids-only proc read-only sys)"
        tap_equal "$(runner_offered --mount = proc,s)" proc,sys
        tap_equal "$(runner_offered --mount proc,sys,d)" proc,sys,dev
        tap_equal "$(runner_offered --log-level = '')" "$(printf '%s\n' debug err info warning)"
        tap_equal "$(runner_offered --build-directory = daem)" daemon
        tap_equal "$(runner_offered --build-directory READM)" ""
        tap_equal "$(runner_offered --listen = READM)" README.md
        tap_equal "$(runner_offered --mount-timeout = '')" ""
        tap_equal "$(runner_offered --listen = /run/x -- --)" ""
        tap_equal "$(runner_offered -- READM)" README.md
}

runner_zsh_knows_them_all() {
        local option

        while read -r option; do
                grep -qE -e "'(\(- \*\))?$option=?\[" "$runner_zsh_file" || {
                        echo "not in there: $option"
                        return 1
                }
        done < <(runner_options)
}

go_prepare_runner
build_make dev
build_make_package "$runner_option"
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
if [[ $runner_missing ]]; then
        tap_skip "mountat-runner" "$runner_missing"
else
        tap_test "bash: every option of mountat-runner is offered" runner_options_are_offered
        tap_test "bash: its values are offered" runner_values_are_offered
        tap_test "zsh: every option of it is there" runner_zsh_knows_them_all
        if command -v zsh >/dev/null; then
                tap_test "zsh: its file can be read" zsh -n "$runner_zsh_file"
        fi
fi
tap_done
