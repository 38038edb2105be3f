# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# An input root as a build action gets one: a tree of its own with the machine's programs in it, and
# with /proc and /sys empty. It is an overlay of the machine's root file system, whose changes are
# kept in memory, and it is mounted in a mount namespace that ends with the script.

# Who builds in the root: nobody whom the machine knows, and not the one who owns /proc in there.
root_user=60001
# What such an action has of an environment. No /root, nothing from who started the test.
root_environment=(PATH=/usr/bin:/bin HOME=/build/home TMPDIR=/build/tmp LC_ALL=C.UTF-8)

# Call first of all, as root_enter_namespace "$@": starts the script once more, where mounts are
# nobody else's.
root_enter_namespace() {
        # By process id, since the variable is inherited by scripts that this one starts.
        if [[ ${MOUNTATD_TEST_NAMESPACE:-} != "$$" ]]; then
                MOUNTATD_TEST_NAMESPACE=$$ exec unshare --mount --propagation private -- \
                        "$(realpath "$0")" "$@"
        fi
}

# Sets root_area, a directory in memory, and root, the input root in it. `root_prepare UPPER`, if
# there is such a function, may change the directory of changes before it is mounted.
root_make() {
        root_area=$(mktemp --directory --tmpdir mountatd-test.XXXXXXXX)
        mount -t tmpfs -o mode=0755 mountatd-test "$root_area"
        root=$root_area/root
        mkdir "$root_area/upper" "$root_area/work" "$root"
        if declare -F root_prepare >/dev/null; then
                root_prepare "$root_area/upper"
        fi
        mount -t overlay -o "lowerdir=/,upperdir=$root_area/upper,workdir=$root_area/work" \
                mountatd-test "$root"

        root_make_devices
        mkdir -p "$root/build/home" "$root/build/tmp"
        chown -R "$root_user:$root_user" "$root/build"
}

# The devices that Buildbarn gives an input root, and no more: what the machine's root has there, below
# the /dev that is another file system, may be anything.
root_make_devices() {
        local name major minor

        find "$root/dev" -mindepth 1 -delete
        while read -r name major minor; do
                mknod --mode=0666 "$root/dev/$name" c "$major" "$minor"
        done <<<'null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0'
}

# Whether the program $1 is in the root: not if it lies on a file system other than /.
root_has() {
        chroot "$root" /usr/bin/test -x "$1"
}

# Runs a command in the root as it is, as the user of the root.
root_run_bare() {
        env --ignore-environment "${root_environment[@]}" \
                /usr/sbin/chroot --userspec="$root_user:$root_user" --groups= "$root" "$@"
}

root_remove() {
        if [[ ${root_area:-} ]]; then
                umount --recursive --lazy "$root_area" || true
                rmdir "$root_area" || true
        fi
}
