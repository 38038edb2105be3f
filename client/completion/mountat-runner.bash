# SPDX-License-Identifier: Apache-2.0
# bash completion for mountat-runner(8)

# Completes the last element of a comma-separated list.
_mountat_runner_mount() {
        local before=

        if [[ $1 == *,* ]]; then
                before=${1%,*},
        fi
        compgen -P "$before" -W 'proc sys dev pids-only read-only' -- "${1##*,}"
}

_mountat_runner() {
        local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} i

        COMPREPLY=()
        # After --: bb_runner and its arguments.
        for ((i = 1; i < COMP_CWORD; i++)); do
                if [[ ${COMP_WORDS[i]} == -- ]]; then
                        mapfile -t COMPREPLY < <(compgen -f -- "$current")
                        return
                fi
        done
        # bash treats "=" as a separate word.
        if [[ $current == = ]]; then
                current=
        elif [[ $previous == = ]]; then
                previous=${COMP_WORDS[COMP_CWORD - 2]}
        fi
        case $previous in
        --build-directory)
                mapfile -t COMPREPLY < <(compgen -d -- "$current")
                ;;
        --listen | --metrics | --mountatd | --runner)
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
                ;;
        --log-level)
                mapfile -t COMPREPLY < <(compgen -W 'err warning info debug' -- "$current")
                ;;
        --mount)
                mapfile -t COMPREPLY < <(_mountat_runner_mount "$current")
                ;;
        --listen-mode | --max-message-size | --mount-timeout | --release-timeout | --stop-timeout) ;;
        *)
                mapfile -t COMPREPLY < <(compgen -W '--build-directory --check --help --listen
                        --listen-mode --log-level --max-message-size --metrics --mount --mount-timeout
                        --mountatd --release-timeout --runner --stop-timeout --version' -- "$current")
                ;;
        esac
}

complete -o filenames -F _mountat_runner mountat-runner
