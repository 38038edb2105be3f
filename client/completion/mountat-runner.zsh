#compdef mountat-runner
# SPDX-License-Identifier: Apache-2.0
# zsh completion for mountat-runner(8)

_arguments \
        '--build-directory=[that of bb_runner]:directory:_files -/' \
        '--check[try all that an action needs]' \
        '--listen=[socket for bb_worker]:socket:_files' \
        '--listen-mode=[of that socket]:octal mode:' \
        '--log-level=[least urgent]:level:(err warning info debug)' \
        '--max-message-size=[of gRPC]:bytes:' \
        '--metrics=[where they are served]:path or loopback address:_files' \
        '--mount=[what actions get]:list:_sequence compadd - proc sys dev pids-only read-only' \
        '--mount-timeout=[for mountatd to answer]:duration:' \
        '--mountatd=[socket of mountatd]:socket:_files' \
        '--release-timeout=[for the mounts to go]:duration:' \
        '--runner=[socket of bb_runner]:socket:_files' \
        '--stop-timeout=[for running actions to end]:duration:' \
        '(- *)--help[print help]' '(- *)--version[print the version]' \
        '*::command:_normal'
