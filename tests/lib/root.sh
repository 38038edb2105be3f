# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# An input root as for a build action: a tree with the host's programs, and with /proc and /sys empty. It
# is an overlay of the host's root file system with changes in memory, mounted in a mount namespace that
# ends with the script.

# The user of the root: no user of the host, and not the owner of /proc in it.
root_user=60501 # nobody else's: it may run beside programs of users 60001 to 60004
# The environment of such an action: no /root, nothing inherited from the test's.
root_environment=(PATH=/usr/bin:/bin HOME=/build/home TMPDIR=/build/tmp LC_ALL=C.UTF-8)

# Call it first, as root_enter_namespace "$@": restarts the script in a mount namespace of its own.
root_enter_namespace() {
        # Compares the process id, since scripts started by this one inherit the variable.
        if [[ ${MOUNTATD_TEST_NAMESPACE:-} != "$$" ]]; then
                MOUNTATD_TEST_NAMESPACE=$$ exec unshare --mount --propagation private -- \
                        "$(realpath "$0")" "$@"
        fi
}

# Sets root_area, a directory in memory, and root, the input root in it. A function `root_prepare UPPER`,
# if defined, may fill the overlay's upper directory before it is mounted.
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

# Only the devices that Buildbarn gives an input root: the host's root may have anything in the directory
# underneath its own /dev.
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

# Whether the program $1 is in the root: not if the host has it on another file system than /.
root_has() {
        chroot "$root" /usr/bin/test -x "$1"
}

# Runs a command in the root without mounts, as the user of the root.
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
