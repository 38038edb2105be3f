# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # packages.sh assigns
#
# A machine with another kernel: it has this one's files, changes none of them, and runs one command
# as a service of systemd's. The kernel is taken out of its package, not installed. What a machine
# consists of is in a directory of its own: vmlinuz, initramfs, and as files what it said, console
# and report. After packages.sh.

machine_parts=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")/system/machine
machine_pid=

# machine_package NAME: the package with the kernel, which is NAME or what NAME depends on, and its
# version. Fails if there is none.
machine_package() {
        local package version

        package=$(apt-cache "${packages_apt_options[@]}" depends --important "$1" 2>/dev/null |
                sed -nE 's/^ +Depends: (linux-image-.*)/\1/p')
        package=${package:-$1}
        version=$(apt-cache "${packages_apt_options[@]}" show --no-all-versions "$package" 2>/dev/null |
                sed -nE 's/^Version: //p')
        [[ $version ]] && echo "$package=$version"
}

# machine_fetch PACKAGE DIRECTORY: the kernel, and in the initramfs what reaches the host's files.
machine_fetch() {
        local package=$1 directory=$2

        rm -rf "$directory"
        mkdir -p "$directory/package" "$directory/initramfs/bin"
        (cd "$directory/package" && apt-get "${packages_apt_options[@]}" download "$package" &&
                dpkg-deb --extract ./*.deb .) || return 1

        machine_take_modules "$directory/package" "$directory/initramfs"
        cp /bin/busybox "$directory/initramfs/bin"
        # Last: by this file it is known that nothing is missing.
        mv "$directory"/package/boot/vmlinuz-* "$directory/vmlinuz"
        rm -r "$directory/package"
}

# machine_take_modules PACKAGE INITRAMFS: those that /init asks for, with their neighbours.
machine_take_modules() {
        local release part

        release=$(basename "$1"/lib/modules/*)
        for part in drivers/virtio fs/9p fs/fscache fs/fuse fs/netfs fs/overlayfs net/9p; do
                part=lib/modules/$release/kernel/$part
                if [[ -d $1/$part ]]; then
                        (cd "$1" && cp --recursive --parents "$part" "$2")
                fi
        done
        busybox depmod -b "$2" "$release"
}

# machine_make DIRECTORY COMMAND: it runs COMMAND, and then ends.
machine_make() {
        local initramfs=$1/initramfs

        cp "$machine_parts/init" "$initramfs/init"
        sed "s|@COMMAND@|$2|" "$machine_parts/suite.service" >"$initramfs/suite.service"
        (cd "$initramfs" && find . | busybox cpio -o -H newc 2>/dev/null) >"$1/initramfs.cpio"
}

# machine_start DIRECTORY ACCELERATOR CPU: its first serial line is the console, of the kernel and
# systemd; the second is what the command prints. Sets machine_pid.
machine_start() {
        local options=(
                -accel "$2" -cpu "$3" -smp 2 -m 2048
                -nodefaults -no-user-config -no-reboot -display none
                -kernel "$1/vmlinuz" -initrd "$1/initramfs.cpio"
                # An emulated time stamp counter is that of the host, whatever the kernel thinks.
                -append "console=ttyS0 panic=-1 mitigations=off tsc=reliable systemd.show_status=no"
                -virtfs "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"
                -serial "file:$1/console" -serial "file:$1/report"
        )

        : >"$1/report"
        qemu-system-x86_64 "${options[@]}" </dev/null >"$1/qemu.log" 2>&1 &
        machine_pid=$!
        disown # else bash tells of crashes
}

machine_is_running() {
        kill -0 "$machine_pid" 2>/dev/null
}

# machine_has_begun DIRECTORY SECONDS: whether the command has printed something in that time. An
# accelerator can be there and not work, in many ways.
machine_has_begun() {
        local deadline=$((SECONDS + $2))

        while machine_is_running && ((SECONDS < deadline)); do
                if [[ -s $1/report ]]; then
                        return 0
                fi
                sleep 0.1
        done
        return 1
}

# machine_watch DIRECTORY SECONDS: copies the report to standard output until the machine ends. Fails
# if that isn't in time.
machine_watch() {
        # As a job that is waited for, so that signals are acted on at once.
        timeout "$2" tail --follow --lines=+1 --sleep-interval=0.2 --pid="$machine_pid" \
                "$1/report" &
        wait $!
}

machine_stop() {
        if [[ $machine_pid ]] && machine_is_running; then
                kill "$machine_pid"
                while machine_is_running; do
                        sleep 0.1
                done
        fi
}
