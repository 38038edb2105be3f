# SPDX-License-Identifier: Apache-2.0
# bash completion for mountat-runner(8)

# The elements of a list, after those that are there.
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
        # After -- comes bb_runner, with its arguments.
        for ((i = 1; i < COMP_CWORD; i++)); do
                if [[ ${COMP_WORDS[i]} == -- ]]; then
                        mapfile -t COMPREPLY < <(compgen -f -- "$current")
                        return
                fi
        done
        # bash takes "=" for a word of its own.
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
