# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # of check_examples.sh
#
# Kills parts of the pod started by pod_works during an action.

death_mounts=11          # procfs, sysfs and the nine of a dev
death_next_daemon=(true) # starts one after a kill, if podman doesn't
death_owner=0            # of a volume that pods share with the node

# begin SECONDS: starts an action of that duration, and waits until it has its mounts.
begin() {
        act /bin/sh -c "sleep $1; $action" >"$area/action" 2>&1 &
        acting=$!
        until_true mounts_are "$death_mounts"
}

# Waits for the end of that action, whatever its result.
next_action_runs() {
        wait "$acting" || true
        until_true action_works # a worker that hasn't noticed takes one, and fails it
        nothing_is_left
}

daemon_dies() {
        begin 4
        kill -KILL "$(daemon_pid)"
        "${death_next_daemon[@]}"
        wait "$acting" || true
        tap_equal "$(<"$area/action")" "$action_says"
        nothing_is_left
}

# Like Kubernetes, ends one instance of the DaemonSet and starts the next.
daemon_is_replaced() {
        begin 12 # longer than podman takes
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
        "${death_next_daemon[@]}"
        next_action_runs
}

# With FUSE, the mounts in it go with it.
worker_dies() {
        begin 4
        kill -KILL "$(podman_pid worker)"
        next_action_runs
}

# The volume is a separate file system, whose device is free once no namespace has it mounted. Nothing may be
# mounted in it, or the kubelet couldn't remove it.
pod_ends() {
        local image=$area/volume.img volume=$area/volume

        podman_remove_pods
        truncate --size 64M "$image"
        mkfs.ext4 -q "$image"
        mkdir -p "$volume"
        mount -o loop "$image" "$volume"
        chown "$death_owner:$death_owner" "$volume"
        pod_start "$1" "$volume"
        begin 60
        podman_remove_pods
        kill "$acting" || true
        wait "$acting" || true
        until_true nothing_is_mounted_below "$volume"
        until_true umount "$volume" # a mount namespace that ends may still have a file open
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

# The mount namespaces other than its own that mountatd holds open.
no_namespace_is_held() {
        local directory

        directory=/proc/$(daemon_pid)
        ! find "$directory/fd" "$directory"/task/*/ns/mnt -lname 'mnt:*' -printf '%l\n' |
                grep -Fxv "$(readlink "$directory/ns/mnt")"
}
