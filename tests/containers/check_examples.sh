#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source-path=SCRIPTDIR/..
#
# The unchanged examples with stock Buildbarn: images from the Containerfiles, pods and compose files, in
# private namespaces and a private network. Needs root; prints TAP.
#
#   sudo tests/containers/check_examples.sh [PART OF A TEST'S NAME]

set -euo pipefail
export LC_ALL=C.UTF-8

tests=$(dirname "$(dirname "$(realpath "$0")")")
. "$tests/lib/packages.sh"
. "$tests/lib/build.sh"
. "$tests/lib/tap.sh"
. "$tests/lib/go.sh"
. "$tests/lib/buildbarn.sh"
debian_archives=$repository/build/archives/containers # packaging/check_fresh may run at the same time
. "$tests/lib/debian.sh"
. "$tests/containers/cluster.sh"
. "$tests/containers/death.sh"
. "$tests/containers/users.sh"

kubernetes=$repository/examples/kubernetes
compose=$repository/examples/compose
pods=(joined-fuse joined-native sidecar-fuse sidecar-native propagation-fuse propagation-native)

skip_all() {
        tap_skip "the examples in containers" "$1"
        tap_done
        exit 0
}

# Restarts the script in namespaces that end with it, with a descriptor of the host's network namespace.
enter_namespaces() {
        local outer_network

        exec {outer_network}</proc/self/ns/net
        # PID 1 of the namespace ignores SIGTERM, but ends with unshare.
        exec unshare --mount --propagation private --net --pid --fork --kill-child --mount-proc -- \
                "$(realpath "$0")" --inside "$outer_network" "$area" "$@"
}

check() {
        local start=$SECONDS

        if [[ $1 == *"$only"* ]]; then
                tap_test "$@"
                echo "# $((SECONDS - start)) s"
        fi
}

# Stops the cluster, and removes what a failed test has left.
clean_up() {
        podman_remove_all >"$area/remove.log" 2>&1 || true
        pkill --exact 'mountatd|bb_storage|bb_scheduler' || true
        wait
        umount_all "$area/compose" || true
        rm -rf "$area/compose"
}

# check_in_cluster NAME COMMAND…
check_in_cluster() {
        cluster_start
        check "$@"
        clean_up
}

# check_pod NAME: tests kubernetes/NAME.yaml.
check_pod() {
        cluster_start
        check "$1: an action has /proc, /sys and /dev, and leaves nothing" pod_works "$1"
        check "$1: each container holds what the example says" pod_holds "$1"
        if [[ $1 == joined-* ]]; then
                check "$1: a rollout of mountatd: the action goes on" daemon_is_replaced
        fi
        if [[ $1 != propagation-* ]]; then # there it is mountat-runner's child, and ends with it
                check "$1: kill -9 of mountatd: the action goes on" daemon_dies
        fi
        check "$1: kill -9 of mountat-runner: the next action runs" client_dies
        check "$1: kill -9 of both: the next action runs" both_die
        check "$1: kill -9 of bb_worker: the next action runs" worker_dies
        check "$1: no namespace and no volume is kept of a pod" pod_ends "$1"
        clean_up
}

# check_user NAME USER: the same for joined-native if its root is that user of the node, and for the
# package's mountatd, which nothing restarts.
check_user() {
        death_next_daemon=(users_start_daemon "$2")
        death_owner=$2
        cluster_start
        check "$1: an action has /proc, /sys and /dev, and leaves nothing" joined_works "$2"
        check "$1: kill -9 of mountatd: the action goes on" daemon_dies
        check "$1: kill -9 of mountat-runner: the next action runs" client_dies
        check "$1: kill -9 of both: the next action runs" both_die
        check "$1: no namespace and no volume is kept of a pod" pod_ends joined-native
        clean_up
}

if [[ ${1:-} == --inside ]]; then
        outer_network=$2 area=$3 only=${4:-}
        . "$tests/containers/podman.sh"
        podman_prepare
        if ! reason=$(podman info 2>&1 >/dev/null); then
                skip_all "impossible here: podman says: ${reason##*$'\n'}"
        fi
        tap_test "the Containerfiles make images" podman_make_images
        echo "# $SECONDS s"
        tap_test "Buildbarn's images" podman_make_buildbarn
        if ((tap_failures == 0)); then
                for pod in "${pods[@]}"; do
                        check_pod "$pod"
                done
                for example in joined sidecar propagation; do
                        check_in_cluster "compose $example" compose_works "$example"
                        check_in_cluster "compose $example native" compose_works "$example" native
                done
                users_prepare
                podman_play=(--userns auto:size=65536)
                check_in_cluster "sidecar-native in a user namespace" sidecar_works
                check_user "joined-native in a user namespace" "$users_auto"
                tap_test "a user without root gets the images" rootless_prepare
                podman_command=(rootless_podman)
                podman_play=(--network host)
                check_user "joined-native without root" "$users_own"
        fi
        tap_done
        exit
fi

if [[ ! -c /dev/fuse ]]; then
        skip_all "impossible here: there is no /dev/fuse"
elif [[ ! $(command -v apt-get) ]]; then
        skip_all "impossible here: the images' base is made by debootstrap, and there is no apt"
fi
packages_install build containers || skip_all "a package could not be installed"
go_prepare "$buildbarn"
reason=$(buildbarn_why_not)
if [[ $reason ]]; then
        skip_all "$reason"
fi
build_make_package
buildbarn_make
area=$(mktemp --directory --tmpdir="$repository/build" containers.XXXXXXXX)
inside=
trap 'kill -KILL $inside 2>/dev/null || true; wait; rm -rf --one-file-system "$area"; build_give_back' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
debian_find_mirror
debian_make "$area/debian"
enter_namespaces "$@" &
inside=$!
wait "$inside"
