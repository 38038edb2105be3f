#compdef mountat-runner
# SPDX-License-Identifier: Apache-2.0
# zsh completion for mountat-runner(8)

_arguments \
        '--build-directory=[build directory of bb_runner]:directory:_files -/' \
        '--check[try all that an action needs]' \
        '--listen=[socket for bb_worker]:socket:_files' \
        '--listen-mode=[mode of that socket]:octal mode:' \
        '--log-level=[lowest level to log]:level:(err warning info debug)' \
        '--max-message-size=[largest gRPC message]:bytes:' \
        '--metrics=[address to serve metrics on]:path or loopback address:_files' \
        '--mount=[what to mount]:list:_sequence compadd - proc sys dev pids-only read-only' \
        '--mount-timeout=[how long to wait for mountatd]:duration:' \
        '--mountatd=[socket of mountatd]:socket:_files' \
        '--release-timeout=[how long to wait for the unmount]:duration:' \
        '--runner=[socket of bb_runner]:socket:_files' \
        '--stop-timeout=[how long to wait for running actions]:duration:' \
        '(- *)--help[print help]' '(- *)--version[print the version]' \
        '*::command:_normal'
