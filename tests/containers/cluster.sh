# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # of check_examples.sh
#
# Storage and scheduler as plain processes, the examples' pods, and actions.

podman_play=() # options of `podman kube play`

# Each pod has its own scheduler, since a scheduler waits a minute for a killed worker.
cluster_start() {
        local program

        mkdir -p /run/mountatd-join /run/mountatd-daemonset
        for program in storage scheduler; do
                AREA=/nonexistent "$buildbarn_bin/bb_$program" \
                        "$tests/containers/config/$program.jsonnet" >"$area/$program.log" 2>&1 &
        done
}

# The examples' configuration, with this cluster's common.libsonnet.
configuration() {
        echo "$repository"/examples/config/* "$tests/containers/config/common.libsonnet"
}

config_map() {
        local file

        printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: buildbarn-config}\ndata:\n'
        for file in $(configuration); do
                printf '  %s: |\n' "${file##*/}"
                sed 's/^/    /' "$file"
        done
        echo ---
}

# mountatd on the node, for the joined pods.
node_start() {
        local arguments

        mapfile -t arguments < <("$tests/containers/manifest" run "$kubernetes/mountatd.yaml")
        podman run --detach --name mountatd "${arguments[@]}"
}

# pod_manifest NAME [WORKER]
pod_manifest() {
        config_map
        "$tests/containers/manifest" play "$kubernetes/$1.yaml" "${@:2}"
}

pod_start() {
        pod_manifest "$@" | podman kube play "${podman_play[@]}" -
}

# act COMMAND…: runs it as an action and prints its output.
act() {
        "$buildbarn_bin/buildbarn" -storage "$podman_cluster:8981" -scheduler "$podman_cluster:8982" "$@"
}

# What every action must find, in pods and elsewhere.
# shellcheck disable=SC2016 # for the shell in there
action='
readlink /proc/self/exe
test -e /proc/meminfo || echo processes only
test -e /proc/1 || echo no others
test -d /sys/class/net/lo && echo sysfs
echo /dev/*
echo gone >/dev/null && echo /dev/null takes it
for file in /proc/self/oom_score_adj /sys/kernel/mm/ksm/run /dev/own; do
        (echo 1 >$file) 2>&- && echo wrote to $file
done
busybox id -u'
action_says="/bin/sh
processes only
no others
sysfs
/dev/fd /dev/full /dev/null /dev/ptmx /dev/pts /dev/random /dev/shm /dev/stderr /dev/stdin /dev/stdout /dev/tty /dev/urandom /dev/zero
/dev/null takes it
65534"

action_works() {
        local said

        said=$(act /bin/sh -c "$action")
        tap_equal "$said" "$action_says"
}

# until_true COMMAND…: repeats it until it succeeds, for ten seconds.
until_true() {
        local i

        for ((i = 0; i < 100; i++)); do
                if "$@" >/dev/null 2>&1; then
                        return 0
                fi
                sleep 0.1
        done
        echo "still not: $*"
        "$@"
}

# mounts_are NUMBER: whether the runner's container has that many below the build directory.
mounts_are() {
        (($(grep -c ' /worker/build/' "/proc/$(podman_pid runner)/mounts") == $1))
}

build_directory_is_empty() {
        [[ ! $(ls -A "/proc/$(podman_pid worker)/root/worker/build") ]]
}

# If the worker has removed the input root, nothing is mounted there.
nothing_is_left() {
        until_true mounts_are 0
        until_true build_directory_is_empty
}

pod_works() {
        if [[ $1 == joined-* ]]; then
                node_start
        fi
        pod_start "$1"
        action_works
        nothing_is_left
}

# field PID NAME: prints a field of /proc/PID/status.
field() {
        sed -nE "s/^$2:\t//p" "/proc/$1/status"
}

# The pid of mountatd, however it was started.
daemon_pid() {
        pgrep --exact mountatd
}

# Capabilities by number: 18 is SYS_CHROOT, 21 SYS_ADMIN.
pod_holds() {
        local daemon runner

        daemon=$(daemon_pid)
        runner=$(podman_pid runner)
        case $1 in
        propagation-*) tap_equal "$(field "$daemon" CapBnd)" 0000000000200000 ;;
        *) tap_equal "$(field "$daemon" CapBnd)" 0000000000240000 ;;
        esac
        tap_equal "$(field "$daemon" CapEff)" "$(field "$daemon" CapBnd)"
        tap_equal "$(field "$daemon" NoNewPrivs) $(field "$daemon" Seccomp)" "1 2"
        # DAC_OVERRIDE, KILL, SETGID, SETUID, SYS_CHROOT.
        tap_equal "$(field "$runner" CapBnd) $(field "$runner" NoNewPrivs)" "00000000000400e2 1"
        if [[ $1 == *-native ]]; then # DAC_OVERRIDE, FOWNER
                tap_equal "$(field "$(podman_pid worker)" CapBnd)" 000000000000000a
        fi
}

# compose_works EXAMPLE [OVERRIDE…]
compose_works() {
        local directory=$area/compose file files=() pids=()

        mkdir -p "$directory"/config "$directory"/volumes/{bb,worker/build,worker/cas,worker/cache}
        chown -R 1000:1000 "$directory/volumes" # whoever made them, it isn't root
        # shellcheck disable=SC2046 # names without blanks
        cp $(configuration) "$directory/config"
        for file in "$@"; do
                files+=(--file "$file.yaml")
                cp "$compose/$file.yaml" "$directory"
        done
        cat >"$directory/cluster.yaml" <<END
services:
  worker:
    extra_hosts: ["storage:$podman_cluster", "scheduler:$podman_cluster"]
END
        if [[ $1 == joined ]]; then
                "$build_package/daemon/mountatd" --listen=/run/mountatd-join/socket --join=root \
                        --build-directory=/worker/build:root >"$area/mountatd.log" 2>&1 &
                pids+=($!)
        fi
        rm -f /run/podman.sock
        "${podman_command[@]}" system service --time 0 unix:///run/podman.sock \
                >"$area/service.log" 2>&1 &
        pids+=($!)
        until_true test -S /run/podman.sock
        (cd "$directory" &&
                DOCKER_HOST=unix:///run/podman.sock docker-compose --project-name bb "${files[@]}" \
                        --file cluster.yaml up --detach)
        action_works
        nothing_is_left
        podman_remove_all
        kill "${pids[@]}"
        umount_all "$directory/volumes"
        rm -r "$directory"
}

# umount_all DIRECTORY: unmounts a killed worker's FUSE.
umount_all() {
        local path

        while read -r path; do
                umount --lazy "$path"
        done < <(findmnt --noheadings --raw --output TARGET | grep "^$1/" || true)
}
