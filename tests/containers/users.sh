# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # of check_examples.sh
#
# Containers whose root is another user on the node. With a native build directory, since mounts made in a user
# namespace don't propagate out of it.

# Their first uids on the node.
users_auto=200000 # of podman's --userns=auto
users_own=1500    # of a user who starts containers without root

users_prepare() {
        printf '%s\n' "containers:$users_auto:65536" "$users_own:300000:65536" |
                tee /etc/subuid >/etc/subgid
        echo "rootless:x:$users_own:$users_own::/run/rootless:/bin/sh" >>/etc/passwd
}

# The package's mountatd, for clients of that user, who is in no group of the node.
users_start_daemon() {
        rm -f /run/mountatd-join/socket # which the DaemonSet's, ended by SIGUSR1, has left
        "$build_package/daemon/mountatd" --listen=/run/mountatd-join/socket --join="$1" \
                --build-directory="/worker/build:$1" >"$area/mountatd.log" 2>&1 &
        until_true test -S /run/mountatd-join/socket
        chmod 0666 /run/mountatd-join/socket
}

# joined_works USER: a pod whose root is that user of the node.
joined_works() {
        users_start_daemon "$1"
        pod_start joined-native
        action_works
        nothing_is_left
}

sidecar_works() {
        pod_start sidecar-native
        action_works
        nothing_is_left
}

# Runs podman in the user's home, since the user may have no access to the working directory.
rootless_podman() {
        (cd /run/rootless && setpriv --reuid="$users_own" --regid="$users_own" --clear-groups -- \
                env HOME=/run/rootless XDG_RUNTIME_DIR=/run/rootless/run \
                CONTAINERS_CONF=/run/rootless/containers.conf \
                podman --log-level error "$@")
}

rootless_prepare() {
        mkdir -p "$area/rootless/run" /run/rootless
        mount --bind "$area/rootless" /run/rootless
        cp "$tests/containers/runtime" /run/rootless
        sed "s#$tests/containers/runtime#/run/rootless/runtime#" "$CONTAINERS_CONF" \
                >/run/rootless/containers.conf
        podman save --multi-image-archive --output "$area/rootless/images.tar" \
                docker.io/library/debian:bookworm-slim "$(buildbarn_image bb-worker)" \
                "$(buildbarn_image bb-runner-installer)" registry.example.com/mountat-runner
        chown -R "$users_own:$users_own" "$area/rootless"
        rootless_podman load --quiet --input images.tar
}
