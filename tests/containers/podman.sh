# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # of check_examples.sh
#
# Podman with private storage and in private namespaces, and the images.

# The address of the cluster's services: one for documentation (RFC 5737), on loopback.
podman_cluster=192.0.2.1

# Podman's leftovers in /run and the mount table go with the namespace.
podman_prepare() {
        mount -t tmpfs -o mode=0755 tmpfs /run
        umount --recursive /sys/fs/cgroup 2>/dev/null || true
        mount -t cgroup2 cgroup2 /sys/fs/cgroup # crun refuses one that is partly of version 1
        mount --bind "$area" "$area"
        mount --make-rshared /
        ip link set lo up
        ip address add "$podman_cluster" dev lo
        mkdir "$area/etc" "$area/etc.work"
        mount -t overlay -o "lowerdir=/etc,upperdir=$area/etc,workdir=$area/etc.work" overlay /etc
        printf '127.0.0.1 localhost\n%s storage scheduler\n' "$podman_cluster" >/etc/hosts
        cat >"$area/containers.conf" <<END
[containers]
default_ulimits = ["nofile=$(ulimit -n):$(ulimit -n)", "nproc=$(ulimit -u):$(ulimit -u)"]
[engine]
cgroup_manager = "cgroupfs"
[engine.runtimes]
crun = ["$tests/containers/runtime"]
END
        export CONTAINERS_CONF=$area/containers.conf
}

podman_command=("$(type -P podman)" --root "$area/storage" --runroot /run/podman --log-level error)

podman() {
        "${podman_command[@]}" "$@"
}

# Runs a command in the host's network namespace.
podman_build() {
        nsenter --net="/proc/self/fd/$outer_network" "${podman_command[@]}" build --network host "$@"
}

# The base image from debootstrap's root, and the images of the examples' Containerfiles.
podman_make_images() {
        local path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

        tar --create --directory="$area/debian" . |
                podman import --change "ENV=PATH=$path" - docker.io/library/debian:bookworm-slim
        rm -r "$area/debian"
        podman_build --file "$repository/examples/mountatd.Containerfile" \
                --build-arg BASE=docker.io/library/debian:bookworm-slim \
                --volume "$debian_archives:/var/cache/apt/archives" \
                --tag registry.example.com/mountatd --tag docker.io/library/mountatd "$repository"
        podman_build --file - --tag localhost/go <<END
FROM docker.io/library/debian:bookworm-slim
ENV PATH=/usr/local/go/bin:$path GOMODCACHE=/go/pkg/mod GOPROXY=off
END
        # The host's Go that builds the module, and its module cache.
        podman_build --file "$repository/examples/mountat-runner.Containerfile" \
                --build-arg BASE=docker.io/library/debian:bookworm-slim --build-arg GO=localhost/go \
                --volume "$(cd "$repository/client/buildbarn" && go env GOROOT):/usr/local/go:ro" \
                --volume "$(go env GOMODCACHE):/go/pkg/mod" \
                --volume "$(go env GOCACHE):/root/.cache/go-build" \
                --tag registry.example.com/mountat-runner --tag docker.io/library/mountat-runner \
                "$repository"
}

# buildbarn_image NAME: prints it with the tag used in the examples.
buildbarn_image() {
        sed -nE "s#^ +image: (.*/$1:.*)#\1#p" "$kubernetes/joined-native.yaml"
}

# Images of stock Buildbarn, used like those of its maintainers.
podman_make_buildbarn() {
        podman_build --file - --tag "$(buildbarn_image bb-worker)" "$buildbarn_bin" <<'END'
FROM docker.io/library/debian:bookworm-slim
COPY bb_worker /bb_worker
ENTRYPOINT ["/bb_worker"]
END
        podman_build --file - --tag "$(buildbarn_image bb-runner-installer)" "$buildbarn_bin" <<'END'
FROM docker.io/library/debian:bookworm-slim
COPY bb_runner /bb_runner
CMD ["cp", "/bb_runner", "/bb/"]
END
}

# podman_pid CONTAINER: prints the pid of its first process; CONTAINER is its name in the example.
podman_pid() {
        podman ps --format '{{.Pid}} {{.Names}}' | sed -nE "s/^([0-9]+) (.*-pod-0-|bb_)?$1(_1)?\$/\1/p"
}

podman_remove_pods() {
        podman pod rm --force --all --time 2
}

# Removes all containers, pods and volumes.
podman_remove_all() {
        podman_remove_pods
        # Twice: a container whose namespaces another one shares is removed after that one.
        podman rm --force --all --time 2 || podman rm --force --all --time 2
        umount_all "$area/storage/volumes"
        podman volume rm --force --all
}
