# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # root.sh assigns
#
# A daemon for the input root of root.sh, socket-activated as by a service manager, and an unprivileged
# client.

# daemon_start BUILD: starts the daemon of the build directory BUILD. Sets daemon_pid, and
# daemon_source, the source of its mounts.
daemon_start() {
        local instance=test-$$

        daemon_directory=$root_area/daemon
        daemon_source=mountatd:$instance
        mkdir "$daemon_directory"
        # A copy, since the client may have no access to the checkout.
        cp "$1/client/mountatctl" "$root_area/mountatctl"

        systemd-socket-activate --seqpacket --listen="$daemon_directory/socket" \
                "$1/daemon/mountatd" --instance="$instance" \
                --runtime-directory="$daemon_directory" --idle-timeout=0 \
                --build-directory="$root:$root_user" >"$daemon_directory/log" 2>&1 &
        daemon_pid=$!
        daemon_await_socket
        # Like SocketMode= and SocketGroup=.
        chgrp "$root_user" "$daemon_directory/socket"
        chmod 0660 "$daemon_directory/socket"
}

daemon_await_socket() {
        local i

        for ((i = 0; i < 600; i++)); do
                if [[ -S $daemon_directory/socket ]]; then
                        return 0
                fi
                sleep 0.05
        done
        cat "$daemon_directory/log" >&2
        return 1
}

# Runs mountatctl as the user of the root, without capabilities or a way to gain any.
daemon_client() {
        env --ignore-environment "${root_environment[@]}" \
                MOUNTATD_SOCKET="$daemon_directory/socket" \
                setpriv --reuid="$root_user" --regid="$root_user" --clear-groups \
                --inh-caps=-all --ambient-caps=-all --bounding-set=-all --no-new-privs \
                "$root_area/mountatctl" "$@"
}

# Runs a command in the root with /proc and /sys.
daemon_run() {
        daemon_client run "$root" -- "$@"
}

# Prints what the daemon has mounted.
daemon_mounts() {
        findmnt --kernel --noheadings --output TARGET --source "$daemon_source" || true
}

daemon_stop() {
        if [[ ${daemon_pid:-} ]]; then
                kill "$daemon_pid" 2>/dev/null || true
                wait "$daemon_pid" 2>/dev/null || true
        fi
}
