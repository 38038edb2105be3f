# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # of check_examples.sh
#
# What is killed, in the middle of an action, in the pod that pod_works has started.

death_mounts=11 # procfs, sysfs and the nine of a dev

# begin SECONDS: an action that goes on for that long, and has all that it asked for.
begin() {
        act /bin/sh -c "sleep $1; $action" >"$area/action" 2>&1 &
        acting=$!
        until_true mounts_are "$death_mounts"
}

# However the one that was begun has ended.
next_action_runs() {
        wait "$acting" || true
        until_true action_works # a worker that hasn't noticed takes one, and fails it
        nothing_is_left
}

daemon_dies() {
        begin 4
        kill -KILL "$(daemon_pid)"
        wait "$acting" || true
        tap_equal "$(<"$area/action")" "$action_says"
        nothing_is_left
}

# As Kubernetes ends one instance of the DaemonSet and starts the next.
daemon_is_replaced() {
        begin 4
        podman stop --time 5 mountatd
        tap_equal "$(podman inspect --format '{{.State.ExitCode}}' mountatd)" 0
        mounts_are "$death_mounts"
        podman start mountatd
        wait "$acting" || true
        tap_equal "$(<"$area/action")" "$action_says"
        nothing_is_left
}

client_dies() {
        begin 4
        kill -KILL "$(pgrep --exact mountat-runner)"
        next_action_runs
}

both_die() {
        begin 4
        kill -KILL "$(pgrep --exact mountat-runner)" "$(daemon_pid)"
        next_action_runs
}

# With a FUSE, what is mounted in there goes with it.
worker_dies() {
        begin 4
        kill -KILL "$(podman_pid worker)"
        next_action_runs
}

# The volume is a file system of its own: its device is free when it is mounted in no namespace. Nothing is
# mounted in there any more, or the kubelet couldn't remove it.
pod_ends() {
        local image=$area/volume.img volume=$area/volume

        podman_remove_pods
        truncate --size 64M "$image"
        mkfs.ext4 -q "$image"
        mkdir -p "$volume"
        mount -o loop "$image" "$volume"
        pod_start "$1" "$volume"
        begin 60
        podman_remove_pods
        kill "$acting" || true
        wait "$acting" || true
        until_true nothing_is_mounted_below "$volume"
        umount "$volume"
        until_true device_is_free "$image"
        if [[ $1 == joined-* ]]; then
                until_true no_namespace_is_held
        fi
        podman_remove_all
        tap_equal "$(grep ' mountatd' /proc/self/mounts)" ""
}

nothing_is_mounted_below() {
        ! findmnt --noheadings --raw --output TARGET | grep "^$1/"
}

device_is_free() {
        [[ ! $(losetup --associated "$1") ]]
}

# By mountatd, of mount namespaces other than its own.
no_namespace_is_held() {
        local directory

        directory=/proc/$(daemon_pid)
        ! find "$directory/fd" "$directory"/task/*/ns/mnt -lname 'mnt:*' -printf '%l\n' |
                grep -Fxv "$(readlink "$directory/ns/mnt")"
}
