# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# The unit's sandbox, as shipped and with a user of its own; and the cost for PID 1.

# score_is_at_most TENTHS: whether systemd-analyze security's exposure level, lower is better, is at most
# that.
score_is_at_most() {
        local score

        score=$(machine_run systemd-analyze security --no-pager mountatd.service 2>&1 |
                sed -nE 's/.*exposure level for mountatd\.service: ([0-9]+)\.([0-9]).*/\1\2/p')
        echo "# systemd-analyze security: $((score / 10)).$((score % 10))" >&3
        [[ $score ]] && ((score <= $1))
}

# install_variant NAME: installs a drop-in by the commands of its page, unchanged, from Debian's directory.
install_variant() {
        local lines

        lines=$(sed -n "/^    cd .*examples\/$1\$/,/^\$/{ s/^    //; s/sudo //g; p }" \
                "$repository/SECURITY.md" "$repository/doc/containers.md")
        [[ $lines ]]
        machine_run sh -e -c "$lines"
}

user_variant_is_installed() {
        install_variant user
        tap_equal "$(machine_show User)" mountatd
}

join_variant_is_installed() {
        machine_run sh -e -c 'cp /etc/default/mountatd /root/default
                echo "MOUNTATD_OPTIONS=--join=runner" >>/etc/default/mountatd'
        install_variant join
        tap_contains "$(machine_as runner mountatctl hello)" $'\nenter'
        tap_equal "$(machine_run sed -nE 's/^(CapPrm|CapEff|CapBnd):\t0*//p' \
                "/proc/$(machine_show MainPID)/status")" $'240000\n240000\n240000'
}

# Holds a lease in a unit with its own mount namespace, as a child of the given command, if any. The lease
# ends with standard input.
joined_client_is_served() {
        local output

        machine_run sh -e -c 'install -d -o runner /srv/inside
                for name in proc sys dev; do install -d -o runner /srv/inside/$name; done'
        output=$(machine_run systemd-run --quiet --pipe --wait --property=User=runner \
                --property=PrivateMounts=yes --property=SupplementaryGroups=mountat \
                "$@" /bin/bash -c 'exec 3>&1
                        {
                                for ((i = 0; i < 200; i++)); do
                                        grep -q /srv/inside/dev/shm /proc/self/mountinfo && break
                                        sleep 0.05
                                done
                                grep -c /srv/inside/ /proc/self/mountinfo >&3
                                head -c 3 /srv/inside/dev/zero | wc -c >&3
                        } | mountatctl hold --quiet --dev /srv/inside' 2>&1) || true
        tap_equal "$output" $'11\n3'
        tap_equal "$(machine_run grep -c /srv/inside /proc/self/mountinfo || true)" 0
}

# A container's view: its own mounts, and the second socket's directory at /run/mountatd.
container_start() {
        machine_run systemd-run --quiet --collect --unit=container --property=User=runner \
                --property=SupplementaryGroups=mountat --property=PrivateMounts=yes \
                --property=ProtectSystem=yes --property=PrivateTmp=yes \
                --property=BindReadOnlyPaths=/run/mountatd-join:/run/mountatd \
                /bin/bash -c 'sleep infinity | mountatctl hold /srv/inside'
        machine_await 10 container_holds
}

container_pid() {
        machine_run pgrep --full --exact 'mountatctl hold /srv/inside'
}

# Works across restarts of the daemon.
container_holds() {
        [[ $(machine_run grep -c ' /srv/inside/' "/proc/$(container_pid)/mountinfo") == 2 ]]
}

container_as_runner() {
        machine_run nsenter --target "$(container_pid)" --mount -- setpriv --reuid=runner \
                --regid=runner --groups="$(machine_run getent group mountat | cut -d : -f 3)" \
                --inh-caps=-all --bounding-set=-all "$@"
}

sockets_are_active() {
        tap_equal "$(machine_run systemctl is-active mountatd.socket mountatd-join.socket)" \
                $'active\nactive'
}

# The directory has only the socket, which is reached by its path: at once, and after a restart of either
# unit.
second_socket_is_served() {
        local unit before

        tap_equal "$(machine_run stat -c '%U %G %a' /run/mountatd-join/socket)" "root mountat 660"
        machine_run systemctl stop mountatd.service
        container_start
        tap_equal "$(container_as_runner stat -c %F /run/mountatd/socket)" socket
        tap_equal "$(container_as_runner ls /run/mountatd 2>&1 || true)" \
                "ls: cannot open directory '/run/mountatd': Permission denied"
        for unit in mountatd.service mountatd.socket; do
                before=$(machine_show MainPID)
                machine_run systemctl restart "$unit"
                # PartOf= orders nothing: the second socket's restart may end later.
                machine_await 30 sockets_are_active
                machine_await 10 status_is '1 leases, 2 mounts, 1 connections' # adopted
                [[ $(machine_show MainPID) != "$before" ]]
                tap_contains "$(container_as_runner mountatctl hello)" $'\nenter'
                hello
                container_holds
        done
        tap_equal "$(container_as_runner touch /run/mountatd/state 2>&1 || true)" \
                "touch: cannot touch '/run/mountatd/state': Read-only file system"
        machine_run systemctl stop container.service
        machine_await 30 holder_holds 0
}

# As the unit's comment says: on the host only members of the group reach it.
open_socket_is_in_a_closed_directory() {
        machine_run sh -e -c 'systemctl stop mountatd.service mountatd-join.socket
                rm -r /run/mountatd-join
                sed -i -e "/^ListenS\|^Directory\|^Socket/d" -e "/^#[A-Z][A-Za-z]*=/s/#//" \
                        /etc/systemd/system/mountatd-join.socket
                systemctl daemon-reload
                systemctl start mountatd-join.socket'
        tap_equal "$(machine_run stat -c '%G %a' /run/mountatd-join /run/mountatd-join/open \
                /run/mountatd-join/open/socket)" $'mountat 710\nroot 711\nroot 666'
        tap_contains "$(machine_as runner mountatctl hello --socket /run/mountatd-join/open/socket)" \
                $'\nenter'
        tap_contains "$(machine_as stranger mountatctl hello \
                --socket /run/mountatd-join/open/socket 2>&1 || true)" "Permission denied"
        tap_contains "$(machine_run systemd-run --quiet --pipe --wait --property=User=stranger \
                --property=BindReadOnlyPaths=/run/mountatd-join/open:/run/mountatd \
                mountatctl hello)" "mountatd $version"
}

# The second socket stops with mountatd.socket.
join_variant_is_removed() {
        machine_run systemctl disable mountatd-join.socket
        machine_run systemctl stop mountatd.socket
        tap_equal "$(machine_run systemctl is-active mountatd-join.socket || true)" inactive
        machine_run systemctl start mountatd.socket
        machine_run sh -e -c 'rm -r /etc/systemd/system/mountatd.service.d /srv/inside \
                        /etc/systemd/system/mountatd-join.socket
                mv /root/default /etc/default/mountatd
                systemctl daemon-reload
                systemctl restart mountatd.service'
}

user_variant_is_on_the_bus() {
        hello
        tap_contains "$(machine_run busctl status org.mountat1)" \
                "UID=$(machine_run id -u mountatd)"
}

memory_is_limited() {
        tap_equal "$(machine_show MemoryMax)" $((1 << 30))
        tap_equal "$(machine_show OOMPolicy)" continue
}

# Prints why the machine's cgroups don't account for memory; nothing if they do. They are v2, which lacks a
# controller that the host uses in v1.
memory_why_not() {
        if ! grep -qw memory "$machine_cgroup/cgroup.controllers"; then
                echo "impossible here: cgroup v2 has no memory controller for the machine"
        fi
}

# Uses up one user's limits: 512 connections, 2048 mounts. The daemon's limits are four times as many
# connections and eight times as many mounts, so an eighth of MemoryMax= must be enough.
memory_suffices() {
        local cgroup used

        machine_run systemctl restart mountatd.service
        hello
        cgroup=$machine_cgroup$(machine_show ControlGroup)
        tap_equal "$(<"$cgroup/memory.max")" $((1 << 30))
        gcc -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -I"$repository/client" \
                -o "$machine_root/srv/connect_often" \
                "$tests/packaging/systemd/connect_often.c" \
                "$build_package/client/libmountat.a" -pthread
        machine_run install -d -o runner /srv/crowd
        machine_run systemd-run --quiet --collect --unit=crowd --property=User=runner \
                --property=SupplementaryGroups=mountat --property=LimitNOFILE=4096 \
                /srv/connect_often /srv/crowd 512 4
        machine_await 30 holder_holds 512
        used=$(<"$cgroup/memory.current")
        machine_run systemctl stop crowd.service
        machine_await 10 no_mounts
        echo "# 512 connections with 2048 mounts: $((used >> 20)) MiB" >&3
        ((used < 1 << 27))
}

# pid_1_nanoseconds COMMAND…: prints PID 1's CPU time while the command runs.
pid_1_nanoseconds() {
        local before after

        sleep 1
        before=$(cut -d ' ' -f 1 "/proc/$machine_leader/schedstat")
        "$@"
        sleep 1
        after=$(cut -d ' ' -f 1 "/proc/$machine_leader/schedstat")
        echo $((after - before))
}

# mount_often COUNT MILLISECONDS: mounts and unmounts proc and sys COUNT times, with pauses.
mount_often() {
        machine_as runner /srv/mount_often /srv/root "$@"
}

# In a private mount namespace, which the daemon has to enter.
mount_often_elsewhere() {
        machine_run unshare --mount --propagation=private setpriv --reuid=runner --regid=runner \
                --init-groups --inh-caps=-all --ambient-caps=-all --bounding-set=-all \
                /srv/mount_often /srv/root "$@"
}

# Without pauses PID 1 rereads its mount table at most five times a second; with pauses, each time.
cost_of_pid_1() {
        local row apart

        gcc -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -I"$repository/client" \
                -o "$machine_root/srv/mount_often" "$tests/packaging/systemd/mount_often.c" \
                "$build_package/client/libmountat.a" -pthread
        mount_often 10 0
        row=$(pid_1_nanoseconds mount_often 1000 0)
        apart=$(pid_1_nanoseconds mount_often 10 500)
        echo "# PID 1 takes $((row / 1000000)) us of CPU time per mount and unmount of proc and" \
                "sys when 1000 come in a row, $((apart / 10000)) us when they come 1 s apart" >&3
        ((row > 0 && apart > 0))
}

# PID 1's mount table doesn't show mounts in another namespace: what it takes is the daemon's status, now and
# then, as in as long a time with only one mount and unmount.
cost_of_pid_1_elsewhere() {
        local home elsewhere once i

        mount_often_elsewhere 10 0
        for ((i = 0; i < 3; i++)); do # on a busy machine, PID 1's time is that of other events too
                home=$(pid_1_nanoseconds mount_often 500 2)
                elsewhere=$(pid_1_nanoseconds mount_often_elsewhere 500 2)
                once=$(pid_1_nanoseconds mount_often_elsewhere 1 1100)
                echo "# PID 1 takes $((home / 1000)) us of CPU time while proc and sys are mounted" \
                        "and unmounted 500 times, $((elsewhere / 1000)) us where the daemon enters a" \
                        "private mount namespace, and $((once / 1000)) us where that happens once" >&3
                if ((elsewhere * 4 < home)); then
                        return 0
                fi
        done
        return 1
}
