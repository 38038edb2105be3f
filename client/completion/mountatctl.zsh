#compdef mountatctl
# SPDX-License-Identifier: Apache-2.0
# zsh completion for mountatctl(1)

# The leases that the user may unmount: only root may unmount one held by a connection.
_mountatctl_lease() {
        local -a leases
        leases=(${(f)"$(mountatctl list --no-legend 2>/dev/null |
                awk -v uid="$(id -u)" '$4 != "socket" || uid == 0 { print $1 }')"})
        _alternative 'leases:lease:compadd -a leases' 'roots:root directory:_files -/'
}

_mountatctl() {
        local -a commands connection mount output all
        local line state

        commands=(
                'run:mount, run a command in the root, unmount'
                'hold:mount, and unmount at the end of standard input or at a signal'
                'hello:print version and features of the daemon'
                'mount:mount until unmounted, and print the lease'
                'unmount:unmount the leases below a root, or a lease'
                'list:list leases'
                'status:print version, counters and limits of the daemon'
        )
        connection=('--socket=[socket of mountatd]:socket:_files' '--timeout=[how long to wait for each answer]:seconds:')
        mount=('--create[create missing mountpoints]' '--dev[mount a /dev too]'
                '*--file-system=[what to mount]:file system:(proc sysfs dev)'
                '--pids-only[procfs with only processes]' '--read-only[read-only procfs in any case]')
        output=('--json=[format]:format:(short pretty off)' '--no-legend[omit titles and total]')
        all=('--help[print help]' '--version[print the version]')

        _arguments -C $all '1:command:->command' '*::argument:->argument'
        all+=('--no-pager[does nothing]' '(-q --quiet)'{-q,--quiet}'[print no lease]')
        case $state in
        command) _describe command commands ;;
        argument)
                case $words[1] in
                run) _arguments $all $connection $mount '--keep-fds[pass all open descriptors to the command]' \
                        '1:root directory:_files -/' '*::command:_normal' ;;
                hold) _arguments $all $connection $mount '1:root directory:_files -/' ;;
                hello) _arguments $all $connection ;;
                mount) _arguments $all $connection $mount '1:root directory:_files -/' ;;
                unmount) _arguments $all $connection '1:root or lease:_mountatctl_lease' ;;
                list) _arguments $all $output '--all[show all leases, if an administrator consents]' ;;
                status) _arguments $all $output ;;
                esac
                ;;
        esac
}

_mountatctl "$@"
