#compdef mountatctl
# SPDX-License-Identifier: Apache-2.0
# zsh completion for mountatctl(1)

# Those that a user may take: what a connection holds is root's alone.
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
                'hold:mount until standard input ends or a signal comes'
                'hello:print the version and the features of the daemon'
                'mount:mount until unmounted, and print the lease'
                'unmount:unmount what is below a root, or a lease'
                'list:list the leases'
                'status:print what the daemon says of itself'
        )
        connection=('--socket=[socket of mountatd]:socket:_files' '--timeout=[for each answer]:seconds:')
        mount=('--create[make missing mountpoints]' '--dev[mount a /dev too]'
                '*--file-system=[what to mount]:file system:(proc sysfs dev)'
                '--pids-only[procfs with processes alone]' '--read-only[in any case]')
        output=('--json=[format]:format:(short pretty off)' '--no-legend[no titles, no sum]')
        all=('--help[print help]' '--version[print the version]')

        _arguments -C $all '1:command:->command' '*::argument:->argument'
        all+=('--no-pager[does nothing]' '(-q --quiet)'{-q,--quiet}'[print no lease]')
        case $state in
        command) _describe command commands ;;
        argument)
                case $words[1] in
                run) _arguments $all $connection $mount '--keep-fds[give the command all open descriptors]' \
                        '1:root directory:_files -/' '*::command:_normal' ;;
                hold) _arguments $all $connection $mount '1:root directory:_files -/' ;;
                hello) _arguments $all $connection ;;
                mount) _arguments $all $connection $mount '1:root directory:_files -/' ;;
                unmount) _arguments $all $connection '1:root or lease:_mountatctl_lease' ;;
                list) _arguments $all $output '--all[ask to see the leases of others]' ;;
                status) _arguments $all $output ;;
                esac
                ;;
        esac
}

_mountatctl "$@"
