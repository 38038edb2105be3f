# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # of check_containers.sh
#
# Containers whose root is another user on the node. With a native build directory, since what is
# mounted in a user namespace isn't passed on to the outside.

# Their first ids on the node.
users_auto=200000 # of podman's --userns=auto
users_own=1500    # of a user who starts containers without root

users_prepare() {
        printf '%s\n' "containers:$users_auto:65536" "$users_own:300000:65536" |
                tee /etc/subuid >/etc/subgid
        echo "rootless:x:$users_own:$users_own::$area/rootless:/bin/sh" >>/etc/passwd
}

# mountatd of the package, for clients of that user, who is in no group of the node's.
users_start_daemon() {
        "$build_package/daemon/mountatd" --listen=/run/mountatd-join/socket --join="$1" \
                --build-directory="/worker/build:$1" &
        until_true test -S /run/mountatd-join/socket
        chmod 0666 /run/mountatd-join/socket
}

users_stop_daemon() {
        kill "$(daemon_pid)"
        until_true test ! -S /run/mountatd-join/socket
}

userns_works() {
        users_start_daemon "$users_auto"
        pod_start joined-native --userns=auto:size=65536
        action_works
        nothing_is_left
        podman_remove_all
        users_stop_daemon
}

rootless() {
        setpriv --reuid="$users_own" --regid="$users_own" --clear-groups --reset-env -- \
                env CONTAINERS_CONF="$CONTAINERS_CONF" XDG_RUNTIME_DIR="$area/rootless/run" \
                "$@"
}
