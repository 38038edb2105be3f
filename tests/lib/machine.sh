# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # packages.sh assigns
#
# A virtual machine with another kernel. It has the host's files, read-only, and runs one command as a
# systemd service. The kernel is extracted from its package, not installed. A directory per machine has
# vmlinuz, initramfs, and its output in the files console and report. After packages.sh.

machine_parts=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")/system/machine
machine_pid=

# machine_package NAME: prints the package with the kernel, which is NAME or a dependency of it, and its
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

# machine_fetch PACKAGE DIRECTORY: gets the kernel, and an initramfs that mounts the host's files.
machine_fetch() {
        local package=$1 directory=$2 deb packages kernel

        mapfile -t packages < <(machine_packages "$package")
        rm -rf "$directory"
        mkdir -p "$directory/package" "$directory/initramfs/bin"
        (cd "$directory/package" && apt-get "${packages_apt_options[@]}" download "${packages[@]}" &&
                for deb in ./*.deb; do dpkg-deb --extract "$deb" .; done) || return 1

        machine_take_modules "$directory/package" "$directory/initramfs" || return 1
        cp /bin/busybox "$directory/initramfs/bin"
        kernel=$(find "$directory/package" -name 'vmlinuz*' -type f)
        # Last: this file marks the directory as complete.
        mv "$kernel" "$directory/vmlinuz" && rm -r "$directory/package"
}

# machine_packages PACKAGE: prints it and, from Debian 14 on, the packages with its kernel and modules.
machine_packages() {
        echo "$1"
        apt-cache "${packages_apt_options[@]}" depends --important "${1%%=*}" |
                sed -nE 's/^ +Depends: (linux-(binary|modules)-.*)/\1/p'
}

# machine_take_modules PACKAGE INITRAMFS: copies the modules that /init loads, with their dependencies.
machine_take_modules() {
        local modules release part

        modules=$(find "$1" -path '*/lib/modules/*/kernel' -prune)
        release=$(basename "$(dirname "$modules")")
        for part in drivers/virtio fs/9p fs/fscache fs/fuse fs/netfs fs/overlayfs net/9p; do
                if [[ -d $modules/$part ]]; then
                        install -d "$2/lib/modules/$release/kernel/${part%/*}"
                        cp --recursive "$modules/$part" "$2/lib/modules/$release/kernel/$part"
                fi
        done
        busybox depmod -b "$2" "$release"
}

# machine_make DIRECTORY COMMAND: a machine that runs COMMAND and powers off.
machine_make() {
        local initramfs=$1/initramfs

        cp "$machine_parts/init" "$initramfs/init"
        sed "s|@COMMAND@|$2|" "$machine_parts/suite.service" >"$initramfs/suite.service"
        (cd "$initramfs" && find . | busybox cpio -o -H newc 2>/dev/null) >"$1/initramfs.cpio"
}

# machine_start DIRECTORY ACCELERATOR CPU: starts it. The first serial port is the console; the second is
# the command's output. Sets machine_pid.
machine_start() {
        local options=(
                -accel "$2" -cpu "$3" -smp 2 -m 2048
                -nodefaults -no-user-config -no-reboot -display none
                -kernel "$1/vmlinuz" -initrd "$1/initramfs.cpio"
                # The emulated time stamp counter is the host's, even if the kernel distrusts it.
                -append "console=ttyS0 panic=-1 mitigations=off tsc=reliable systemd.show_status=no"
                -virtfs "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"
                -serial "file:$1/console" -serial "file:$1/report"
        )

        : >"$1/report"
        qemu-system-x86_64 "${options[@]}" </dev/null >"$1/qemu.log" 2>&1 &
        machine_pid=$!
        disown # or bash reports crashes
}

machine_is_running() {
        kill -0 "$machine_pid" 2>/dev/null
}

# machine_has_begun DIRECTORY SECONDS: whether the command prints anything in that time. An accelerator
# may be present but not work.
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
# after that time.
machine_watch() {
        # A background job and `wait`, so that bash handles signals at once.
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
