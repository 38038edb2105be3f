# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# Restarts, stops and kills under systemd, and which mounts stay.

restart_keeps_leases() {
        local ids before

        holder_start
        ids=$(mount_ids)
        before=$(machine_show MainPID)
        machine_run systemctl restart mountatd.service
        [[ $(machine_show MainPID) != "$before" ]]
        machine_await 10 holder_holds 1
        tap_equal "$(mount_ids)" "$ids"
        machine_await 10 machine_has_logged 0c1b127d70a2449e911a240f24603b9b "leaving the leases"
        holder_end
}

stop_leaves_nothing() {
        holder_start
        machine_run systemctl stop mountatd.service
        tap_equal "$(mounts)" ""
        tap_equal "$(machine_show Result)" success
        machine_run systemctl kill --signal=KILL holder.service || true
        machine_await 30 holder_is_gone
}

# The daemon itself unmounts, with the rights that the unit leaves it. The client lives, so ExecStartPre=
# doesn't unmount, but it doesn't reconnect in time.
nobody_adopts() {
        local pid

        machine_options --adopt-timeout=1
        holder_start
        machine_run systemctl kill --signal=STOP holder.service
        pid=$(machine_show MainPID)
        machine_run systemctl kill --signal=KILL --kill-who=main mountatd.service
        machine_await 10 service_has_another_pid "$pid"
        machine_await 15 no_mounts
        machine_run systemctl kill --signal=KILL holder.service
        machine_await 30 holder_is_gone
        machine_options ""
}

# As in the unit, but with a shorter time.
watchdog_restarts() {
        local before

        machine_run mkdir -p /run/systemd/system/mountatd.service.d
        machine_run sh -c 'printf "[Service]\nWatchdogSec=5s\n" \
                >/run/systemd/system/mountatd.service.d/watchdog.conf'
        machine_run systemctl daemon-reload
        machine_run systemctl stop mountatd.service
        hello
        before=$(machine_show MainPID)
        machine_run kill -STOP "$before"
        machine_await 30 service_has_another_pid "$before"
        hello
        machine_await 10 machine_journal_has "Watchdog timeout" --unit=mountatd.service
        machine_run rm /run/systemd/system/mountatd.service.d/watchdog.conf
        machine_run systemctl daemon-reload
        machine_run systemctl restart mountatd.service
}

service_has_another_pid() {
        local pid

        pid=$(machine_show MainPID)
        [[ $pid != 0 && $pid != "$1" && $(machine_show ActiveState) == active ]]
}

# systemd's start limit, 5 in 10 s, must stop neither the service nor the socket. A lease is held throughout.
kills_end_nothing() {
        local ids pid i

        machine_run systemctl stop mountatd.service
        holder_start
        ids=$(mount_ids)
        for ((i = 0; i < 5; i++)); do
                pid=$(machine_show MainPID)
                machine_run systemctl kill --signal=KILL --kill-who=main mountatd.service
                machine_await 10 service_has_another_pid "$pid"
                hello
        done
        machine_await 10 holder_holds 1
        tap_equal "$(mount_ids)" "$ids"
        tap_equal "$(machine_run systemctl is-active mountatd.socket)" active
        holder_end
}
