# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# The socket and the service, as an administrator uses them.

# Prints the daemon's mounts, with their ids.
mounts() {
        machine_run findmnt --kernel --noheadings --output TARGET --source mountatd || true
}

mount_ids() {
        machine_run findmnt --kernel --noheadings --output ID,TARGET --source mountatd
}

# Starts a unit that, like a runner, holds a lease. If a test failed, an earlier one may still run.
holder_start() {
        holder_is_gone || machine_run systemctl kill --signal=KILL holder.service || true
        machine_await 30 holder_is_gone
        machine_run systemd-run --quiet --collect --unit=holder --property=User=runner \
                --property=SupplementaryGroups=mountat --property=NoNewPrivileges=yes \
                sh -c 'sleep infinity | mountatctl hold /srv/root'
        machine_await 10 holder_holds 1
}

holder_is_gone() {
        [[ $(machine_show LoadState holder.service) == not-found ]]
}

# holder_holds LEASES: whether the daemon counts that many.
holder_holds() {
        [[ $(machine_run busctl get-property org.mountat1 /org/mountat1 org.mountat1.Manager \
                Leases) == "u $1" ]]
}

holder_end() {
        machine_run systemctl stop holder.service
        machine_await 30 holder_is_gone
        machine_await 30 no_mounts
}

no_mounts() {
        [[ ! $(mounts) ]]
}

hello() {
        tap_contains "$(machine_as runner mountatctl hello)" "mountatd $version"
}

socket_enables() {
        machine_run systemctl enable --now mountatd.socket
        tap_equal "$(machine_run systemctl is-enabled mountatd.socket)" enabled
        # By the socket's Also=: the D-Bus alias.
        machine_run systemctl disable mountatd.socket mountatd.service
        machine_run systemctl enable --now mountatd.socket
        tap_equal "$(machine_run readlink /etc/systemd/system/dbus-org.mountat1.service)" \
                "$(machine_show FragmentPath)"
}

connection_starts_the_service() {
        machine_run systemctl stop mountatd.service
        tap_equal "$(machine_show ActiveState)" inactive
        hello
        machine_await 10 machine_run systemctl is-active --quiet mountatd.service # it answers before READY=1
}

stranger_is_refused() {
        local output status=0

        output=$(machine_as stranger mountatctl hello 2>&1) || status=$?
        tap_equal "$status" 1
        tap_contains "$output" "Permission denied"
}

status_tells() {
        holder_start
        machine_await 10 status_is '1 leases, 2 mounts, 1 connections'
        tap_contains "$(machine_run systemctl status --no-pager mountatd.service)" \
                'Status: "1 leases, 2 mounts, 1 connections"'
        holder_end
}

status_is() {
        tap_equal "$(machine_show StatusText)" "$1"
}

capabilities_are_one() {
        local none=0000000000000000 only=0000000000200000 # bit 21, CAP_SYS_ADMIN
        local pid task

        hello
        pid=$(machine_show MainPID)
        for task in $(machine_run ls "/proc/$pid/task"); do
                tap_equal "$(machine_run sed -nE 's/^(Cap...|NoNewPrivs|Seccomp):\t/\1 /p' \
                        "/proc/$pid/task/$task/status")" \
                        "$(printf '%s\n' "CapInh $none" "CapPrm $only" "CapEff $only" \
                                "CapBnd $only" "CapAmb $none" "NoNewPrivs 1" "Seccomp 2")"
        done
        tap_equal "$(machine_run stat -c %U "/proc/$pid")" "${1:-root}"
}

namespace_is_that_of_pid_1() {
        hello
        tap_equal "$(machine_run readlink "/proc/$(machine_show MainPID)/ns/mnt")" \
                "$(machine_run readlink /proc/1/ns/mnt)"
}

# machine_options OPTIONS: sets them in /etc/default/mountatd, and restarts as its first lines say.
machine_options() {
        machine_run sed -i "s|^MOUNTATD_OPTIONS=.*|MOUNTATD_OPTIONS=\"$1\"|" /etc/default/mountatd
        machine_run systemctl restart mountatd.service
}

service_is_inactive() {
        [[ $(machine_show ActiveState) == inactive ]]
}

idle_exit_and_back() {
        local round

        machine_options --idle-timeout=1
        for round in 1 2; do
                hello
                machine_await 10 service_is_inactive
                machine_run test -S /run/mountatd/socket || {
                        echo "in round $round the socket has no path any more"
                        return 1
                }
        done
        hello
        tap_equal "$(machine_show Result)" success
        machine_options ""
}

# Another user's directories: allowed by the option, not by the rule about owners.
options_count() {
        local output

        output=$(machine_as runner mountatctl run --file-system proc /srv/builds/1 -- / 2>&1) || true
        tap_contains "$output" not-authorised
        machine_options --build-directory=/srv/builds:runner
        machine_run systemd-run --quiet --pipe --wait --property=User=runner \
                --property=SupplementaryGroups=mountat \
                sh -c 'mountatctl hold --file-system proc /srv/builds/1 </dev/null'
        machine_options ""
}

# A refused request: the entry has its message id, and says who and where.
journal_has_fields() {
        local entry

        machine_run install -d -o runner /srv/wrong
        machine_run install -d -o stranger /srv/wrong/proc
        machine_as runner mountatctl run --file-system proc /srv/wrong -- /bin/true 2>/dev/null ||
                true
        machine_await 10 machine_has_logged 883ca9fb454741ad95521eb5dbeb3573 /srv/wrong/proc
        entry=$(machine_run journalctl --output=json --lines=1 --unit=mountatd.service \
                MESSAGE_ID=883ca9fb454741ad95521eb5dbeb3573)
        tap_contains "$entry" '"MOUNTAT_OPERATION":"mount"'
        tap_contains "$entry" '"MOUNTAT_TARGET":"/srv/wrong/proc"'
        tap_contains "$entry" "\"MOUNTAT_PEER_UID\":\"$(machine_run id -u runner)\""
        tap_contains "$entry" '"MOUNTAT_PEER_PID":"'
        tap_contains "$entry" '"PRIORITY":"6"'
        tap_contains "$entry" '"SYSLOG_IDENTIFIER":"mountatd"'
}

journal_explains() {
        tap_contains "$(machine_run journalctl --catalog --lines=1 --unit=mountatd.service \
                MESSAGE_ID=883ca9fb454741ad95521eb5dbeb3573)" "--build-directory=DIR:USER"
}

# A compiler with the README's command, and without: in a unit, in an input root with the host's programs.
toolchain_runs() {
        local output

        machine_run sh -e -c '
                mkdir -p /tmp/input/upper /tmp/input/work /srv/input
                mount -t overlay input /srv/input \
                        -o lowerdir=/,upperdir=/tmp/input/upper,workdir=/tmp/input/work
                rm -rf /srv/input/proc /srv/input/sys /srv/input/dev
                install -d -o runner /srv/input/proc /srv/input/sys /srv/input/dev /srv/input/build
                printf "fn main() { println!(\"hello from rustc\"); }\n" >/srv/input/build/hello.rs'
        output=$(machine_run systemd-run --quiet --pipe --wait --property=User=runner \
                --property=SupplementaryGroups=mountat --setenv=TMPDIR=/build \
                mountatctl run --dev /srv/input -- /bin/bash -c \
                'cat <(/usr/bin/rustc -o /build/hello /build/hello.rs && /build/hello)' 2>&1) || true
        machine_run umount /srv/input
        tap_contains "$output" "hello from rustc"
}
