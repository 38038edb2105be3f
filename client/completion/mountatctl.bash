# SPDX-License-Identifier: Apache-2.0
# bash completion for mountatctl(1)

# The leases that the user may unmount: only root may unmount one held by a connection.
_mountatctl_leases() {
        mountatctl list --no-legend 2>/dev/null |
                awk -v uid="$(id -u)" '$4 != "socket" || uid == 0 { print $1 }'
}

_mountatctl() {
        local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} options=
        local command=${COMP_WORDS[1]}
        local connection='--socket --timeout' output='--json --no-legend'
        local mount='--create --dev --file-system --pids-only --read-only'

        COMPREPLY=()
        if ((COMP_CWORD == 1)); then
                mapfile -t COMPREPLY < <(compgen -W \
                        'run hold hello mount unmount list status --help --version' -- "$current")
                return
        fi
        case $previous in
        --json)
                mapfile -t COMPREPLY < <(compgen -W 'short pretty off' -- "$current")
                return
                ;;
        --file-system)
                mapfile -t COMPREPLY < <(compgen -W 'proc sysfs dev' -- "$current")
                return
                ;;
        --socket)
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
                return
                ;;
        --timeout)
                return
                ;;
        esac
        case $command in
        run) options="$connection $mount --keep-fds" ;;
        hold | mount) options="$connection $mount" ;;
        hello | unmount) options=$connection ;;
        list) options="$output --all" ;;
        status) options=$output ;;
        esac
        if [[ $current == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W \
                        "$options --no-pager --quiet --help --version" -- "$current")
                return
        fi
        compopt -o filenames
        case $command in
        run | hold | mount)
                mapfile -t COMPREPLY < <(compgen -d -- "$current")
                ;;
        unmount)
                mapfile -t COMPREPLY < <(
                        compgen -d -- "$current"
                        compgen -W "$(_mountatctl_leases)" -- "$current"
                )
                ;;
        esac
}

complete -F _mountatctl mountatctl
