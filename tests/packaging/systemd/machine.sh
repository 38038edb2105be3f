# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A machine with systemd as PID 1: systemd-nspawn on an overlay of the host's / or of another root, with
# changes in memory, without a service manager outside. The script is in its own mount namespace
# (root_enter_namespace), so /run and the cgroups here are private.

# As for systemd-run and logins.
machine_environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
        LC_ALL=C.UTF-8 SYSTEMD_PAGER= SYSTEMD_COLORS=0)
machine_seconds_max=60
machine_files=/ # or another root
machine_binds=() # options of systemd-nspawn: what else it has of the host's

# Prints why the machine can't run here; nothing if it can.
machine_why_not() {
        if ! grep -qw cgroup2 /proc/filesystems; then
                echo "impossible here: the kernel has no cgroup2"
        elif ! grep -qw overlay /proc/filesystems && ! modprobe overlay 2>/dev/null; then
                echo "impossible here: the kernel has no overlay"
        elif ! mount -t cgroup2 mountatd-test /sys/fs/cgroup 2>/dev/null; then
                echo "impossible here: cgroups can't be mounted, as in a container"
        fi
}

# Starts it, after machine_why_not() printed nothing. Sets machine_area, machine_root, machine_leader.
machine_start() {
        machine_area=$(mktemp --directory --tmpdir mountatd-machine.XXXXXXXX)
        machine_root=$machine_area/root
        machine_cgroup=/sys/fs/cgroup/mountatd-test-$$
        mount -t tmpfs -o mode=0755 mountatd-test "$machine_area"
        mount -t tmpfs -o mode=0755 mountatd-test /run
        mkdir "$machine_area/upper" "$machine_area/work" "$machine_root" "$machine_cgroup"
        machine_prepare "$machine_area/upper" "${machine_files%/}"
        mount -t overlay mountatd-test "$machine_root" \
                -o "lowerdir=$machine_files,upperdir=$machine_area/upper,workdir=$machine_area/work"
        machine_boot
        machine_await_boot
}

# machine_prepare UPPER ROOT: the root's enabled units aren't started there: in an overlay, a device 0:0 hides
# a file. Nor does it write to a copy of the host's journal.
machine_prepare() {
        local wants

        mkdir -p "$1/etc/systemd/system" "$1/etc/systemd/journald.conf.d"
        for wants in "$2"/etc/systemd/system/*.wants; do
                mknod "$1${wants#"$2"}" c 0 0
        done
        # A build host may have a policy that packages must not start services.
        if [[ -e $2/usr/sbin/policy-rc.d ]]; then
                mkdir -p "$1/usr/sbin"
                mknod "$1/usr/sbin/policy-rc.d" c 0 0
        fi
        printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' \
                >"$1/etc/systemd/journald.conf.d/test.conf"
}

# Without nspawn's own seccomp filter, which in some versions lacks newer system calls.
machine_boot() {
        local binds=("${machine_binds[@]}")

        if [[ -c /dev/fuse ]]; then
                binds+=(--bind=/dev/fuse)
        fi
        (
                echo "$BASHPID" >"$machine_cgroup/cgroup.procs"
                SYSTEMD_SECCOMP=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn \
                        --directory="$machine_root" --machine=mountatd-test --boot \
                        --register=no --keep-unit --private-network --console=pipe \
                        --resolv-conf=off --timezone=off --link-journal=no "${binds[@]}" \
                        systemd.unit=basic.target
        ) </dev/null >"$machine_area/log" 2>&1 &
        machine_pid=$!
}

machine_await_boot() {
        local i

        for ((i = 0; i < 600; i++)); do
                read -r machine_leader _ <"/proc/$machine_pid/task/$machine_pid/children" || true
                if [[ ${machine_leader:-} ]] && machine_run systemctl is-system-running \
                        2>/dev/null | grep -qE 'running|degraded'; then
                        return 0
                fi
                sleep 0.1
        done
        cat "$machine_area/log" >&2
        return 1
}

# Runs a command in the machine as root, for machine_seconds_max at most.
machine_run() {
        timeout "$machine_seconds_max" nsenter --target "$machine_leader" --all -- \
                env --ignore-environment --chdir=/ "${machine_environment[@]}" "$@"
}

# machine_as USER COMMAND…: runs it with the user's current groups.
machine_as() {
        local user=$1

        shift
        machine_run setpriv --reuid="$user" --regid="$user" --init-groups \
                --inh-caps=-all --ambient-caps=-all --bounding-set=-all "$@"
}

# Prints a property of a unit.
machine_show() {
        machine_run systemctl show --property="$1" --value "${2:-mountatd.service}"
}

# machine_await SECONDS COMMAND…: repeats it until it succeeds.
machine_await() {
        local deadline=$((SECONDS + $1))

        shift
        while ((SECONDS <= deadline)); do
                if "$@" >/dev/null 2>&1; then
                        return 0
                fi
                sleep 0.1
        done
        echo "in vain: $*"
        return 1
}

# machine_has_logged MESSAGE-ID TEXT: whether mountatd has. Use it with machine_await while mountatd runs,
# since it logs from a separate thread.
machine_has_logged() {
        machine_run journalctl --output=cat --unit=mountatd.service "MESSAGE_ID=$1" |
                grep --quiet --fixed-strings -e "$2"
}

# machine_journal_has TEXT MATCH…: whether the journal has it. Use it with machine_await, since journald reads
# messages when it gets to them.
machine_journal_has() {
        machine_run journalctl --output=cat "${@:2}" | grep --fixed-strings -e "$1"
}

# Ends what machine_start() started. Killing nspawn isn't enough; killing PID 1 ends its pid namespace.
machine_stop() {
        if [[ ${machine_leader:-} ]]; then
                kill -KILL "$machine_leader" 2>/dev/null || true
        fi
        if [[ ${machine_pid:-} ]]; then
                kill "$machine_pid" 2>/dev/null || true
                wait "$machine_pid" 2>/dev/null || true
        fi
        if [[ ${machine_cgroup:-} ]]; then
                machine_remove_cgroup
        fi
        if [[ ${machine_area:-} ]]; then
                umount --recursive --lazy "$machine_area" || true
                rmdir "$machine_area" || true
        fi
}

# The last processes take a moment to exit.
machine_remove_cgroup() {
        local i

        for ((i = 0; i < 50; i++)); do
                find "$machine_cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || true
                if [[ ! -d $machine_cgroup ]]; then
                        return 0
                fi
                sleep 0.1
        done
        echo "# a cgroup is left: $machine_cgroup" >&2
}
