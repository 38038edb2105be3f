# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The distribution's packages needed for building and testing: the only list.

packages_apt_options=()

# For what, the package, a file by which it is known to be there, and why it is needed. By the file
# and not by dpkg, since many a machine has its compilers from elsewhere; and it costs nothing. Of
# packages with a | between them, the first that the release has.
packages_table() {
        cat <<'END'
build      gcc                   /usr/bin/gcc                    the first compiler
build      libc6-dev             /usr/include/stdlib.h           the C library
build      cmake                 /usr/bin/cmake                  the build
build      ninja-build           /usr/bin/ninja                  the build
build      pkg-config            /usr/bin/pkg-config             finds the libraries
build      libsystemd-dev        /usr/include/systemd/sd-event.h main loop, socket activation
build      systemd               /usr/bin/systemd-socket-activate a daemon that its socket starts
build      systemd-dev|systemd   /usr/share/pkgconfig/systemd.pc where units go
build      libcap-dev            /usr/include/sys/capability.h   keeping one capability
build      libseccomp-dev        /usr/include/seccomp.h          keeping to a list of system calls
test       check                 /usr/include/check.h            the unit tests
test       g++                   /usr/bin/g++                    the library from C++
test       clang                 /usr/bin/clang                  the second compiler
test       mount                 /usr/bin/mount                  input roots
test       libfuse3-dev          /usr/include/fuse3/fuse.h       a file system that never answers
test       fuse3                 /usr/bin/fusermount3            mounted by a user without privilege
test       dbus-daemon           /usr/bin/dbus-daemon            the bus that a test is on
test       polkitd               /usr/lib/polkit-1/polkitd       asked for consent on that bus
test       python3               /usr/bin/python3                reads the JSON of mountatctl
test       zsh                   /usr/bin/zsh                    reads the completion for it
test       uidmap                /usr/bin/newuidmap              many users that are one
test       busybox-static        /bin/busybox                    an input root in one program
manual     scdoc                 /usr/bin/scdoc                  makes the manual pages
manual     mandoc                /usr/bin/mandoc                 finds faults in them
manual     groff-base            /usr/bin/groff                  finds others
package    dpkg-dev              /usr/bin/dpkg-shlibdeps         what a package depends on
package    file                  /usr/bin/file                   whether it is a program
package    gzip                  /usr/bin/gzip                   compresses its manual
lint       lintian               /usr/bin/lintian                finds faults in it
apparmor   apparmor              /usr/sbin/apparmor_parser       reads the profile of mountatctl
systemd    systemd-container     /usr/bin/systemd-nspawn         a machine for the package
systemd    dbus                  /lib/systemd/system/dbus.socket its system bus
systemd    polkitd               /usr/lib/polkit-1/polkitd       who may call what on it
systemd    util-linux            /usr/bin/nsenter                the way in
systemd    busybox-static        /bin/busybox                    an input root in one program
systemd    python3               /usr/bin/python3                reads the JSON of mountatctl
fuzz       libclang-rt-14-dev    /usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.fuzzer-x86_64.a libFuzzer, for clang
memcheck   valgrind              /usr/bin/valgrind               reads of what was never written
analysis   clang-tidy            /usr/bin/clang-tidy             faults that it knows
analysis   clang-tools           /usr/bin/scan-build             paths that go wrong
analysis   cppcheck              /usr/bin/cppcheck               faults that it knows
toolchains rustc                 /usr/bin/rustc                  a compiler that needs /proc
toolchains cargo                 /usr/bin/cargo                  a build tool that needs /proc
toolchains golang-go             /usr/bin/go                     a compiler that needs /proc
toolchains nodejs                /usr/bin/node                   a runtime that needs /proc
toolchains default-jdk-headless  /usr/bin/javac                  a compiler that needs /proc
toolchains libpython3.11-testsuite /usr/lib/python3.11/test/test_pty.py Python's own tests
buildbarn  busybox-static        /bin/busybox                    input roots in one program
buildbarn  util-linux            /usr/bin/setpriv                users without privilege
buildbarn  bash                  /bin/bash                       an action that needs /dev/fd
buildbarn  coreutils             /usr/bin/sort                   actions that need devices
buildbarn  python3               /usr/bin/python3                actions that need shm, and ptys
buildbarn  openssl               /usr/bin/openssl                an action that may need devices
buildbarn  patch                 /usr/bin/patch                  a decorator in bb_runner's main
buildbarn  procps                /usr/bin/pgrep                  whether an action runs
buildbarn  bsdutils              /usr/bin/script                 an action that needs a pty
containers debootstrap           /usr/sbin/debootstrap           what the images are made on
containers podman                /usr/bin/podman                 containers and pods
containers crun                  /usr/bin/crun                   what starts them
containers catatonit             /usr/bin/catatonit              the first process of a pod
containers netavark              /usr/lib/podman/netavark        a network for them
containers iptables              /usr/sbin/iptables              which netavark calls
containers procps                /usr/bin/pgrep                  what is killed, by its name
containers uidmap                /usr/bin/newuidmap              containers of a user without privilege
containers docker-compose        /usr/bin/docker-compose         compose files
containers python3-yaml          /usr/lib/python3/dist-packages/yaml/__init__.py reads a manifest
containers iproute2              /usr/sbin/ip                    an address of the test's own
containers e2fsprogs             /usr/sbin/mkfs.ext4             a volume that can be busy
containers busybox-static        /bin/busybox                    an input root in one program
bench      bubblewrap            /usr/bin/bwrap                  what it is compared with
bench      util-linux            /usr/bin/unshare                what it is compared with
bench      mount                 /usr/bin/mount                  what it is compared with
bench      dbus-daemon           /usr/bin/dbus-daemon            a bus of its own
bench      gnuplot-nox           /usr/bin/gnuplot                pictures of distributions
machine    qemu-system-x86       /usr/bin/qemu-system-x86_64     a machine with another kernel
machine    busybox-static        /bin/busybox                    its first program
fresh      debootstrap           /usr/sbin/debootstrap           a machine with nothing installed
demo       rustc                 /usr/bin/rustc                  the compiler that is shown
go         ca-certificates       /etc/ssl/certs/ca-certificates.crt who serves modules
backports  golang-1.23-go        /usr/lib/go-1.23/bin/go         fetches the Go that a module names
END
}

# Prints the missing packages for the given purposes, one per line.
packages_missing() {
        local purpose package file _

        while read -r purpose package file _; do
                if [[ $purpose && " $* " == *" $purpose "* && ! -e $file ]]; then
                        echo "$package"
                fi
        done < <(packages_table)
}

# Installs the missing packages for the given purposes; prints nothing if none is missing.
packages_install() {
        local missing log

        mapfile -t missing < <(packages_missing "$@")
        if ((${#missing[@]} == 0)); then
                return 0
        fi

        echo "installing ${missing[*]}" >&2
        log=$(mktemp)
        if ! packages_apt "${missing[@]}" >"$log" 2>&1; then
                cat "$log" >&2
                rm "$log"
                echo "cannot install ${missing[*]}: without apt-get, install what they are" \
                        "called elsewhere" >&2
                return 1
        fi
        rm "$log"
}

# One at a time: apt doesn't wait for its own locks.
packages_apt() (
        names=()
        export DEBIAN_FRONTEND=noninteractive

        if ! flock 9 || ! apt-get "${packages_apt_options[@]}" update; then
                exit 1
        fi
        for package; do
                names+=("$(packages_first "$package")")
        done
        apt-get "${packages_apt_options[@]}" install --yes --no-install-recommends "${names[@]}" 9<&-
) 9<"${BASH_SOURCE[0]}"

# packages_first NAME[|NAME…]: the first that apt knows, or else the last, which apt then complains of.
packages_first() {
        local package packages

        IFS='|' read -r -a packages <<<"$1"
        for package in "${packages[@]}"; do
                if apt-cache "${packages_apt_options[@]}" show "$package" >/dev/null 2>&1; then
                        break
                fi
        done
        echo "$package"
}

# packages_mirror SUITE: prints the mirror for Debian's packages: the host's own if it has the suite,
# since others may be unreachable.
packages_mirror() {
        local uri codename

        while read -r uri codename; do
                if [[ $codename == "$1" ]]; then
                        echo "$uri"
                        return
                fi
        done < <(apt-get indextargets --format "\$(REPO_URI) \$(CODENAME)" 'Created-By: Packages')
        echo http://deb.debian.org/debian
}

# packages_use_suite SUITE DIRECTORY: uses Debian's packages of that suite from here on. apt's state for
# it is in the directory; the host's own sources are unchanged.
packages_use_suite() {
        local keys=/usr/share/keyrings/debian-archive-keyring.gpg mirror

        mkdir -p "$2/lists/partial" "$2/archives/partial"
        mirror=$(packages_mirror "${1%-backports}")
        echo "deb [signed-by=$keys] $mirror $1 main" >"$2/sources.list"
        packages_apt_options=(
                -o Dir::Etc::SourceList="$2/sources.list" -o Dir::Etc::SourceParts=/dev/null
                -o Dir::State::Lists="$2/lists" -o Dir::Cache="$2" -o APT::Sandbox::User=root
        )
}
