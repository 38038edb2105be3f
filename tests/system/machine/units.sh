# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The installed units under a systemd that is PID 1: socket activation, a restart, a crash and a
# stop, as an administrator and a client see them. For a machine that is thrown away.

units_user=60001
units_area=/run/units

# units_install BUILD: that build directory. The units come without what any unit asks for by
# default, which is the rest of the host's system.
units_install() {
        local unit

        cmake --install "$1"
        systemd-sysusers /usr/lib/sysusers.d/mountatd.conf
        for unit in mountatd.socket mountatd.service; do
                mkdir -p "/run/systemd/system/$unit.d"
                printf '[Unit]\nDefaultDependencies=no\n' >"/run/systemd/system/$unit.d/alone.conf"
        done
        systemctl daemon-reload

        mkdir -p "$units_area/root/proc" "$units_area/root/sys"
        chown -R "$units_user" "$units_area/root"
        mkfifo "$units_area/input"
}

# mountatctl, as a user in the socket's group.
units_client() {
        setpriv --reuid="$units_user" --regid="$units_user" --groups=mountat \
                --bounding-set=-all --no-new-privs mountatctl "$@"
}

# Their ids, which are other ones for other mounts.
units_mounts() {
        findmnt --kernel --noheadings --output ID,TARGET --source mountatd || true
}

units_daemon() {
        systemctl show --property=MainPID --value mountatd.service
}

units_await() {
        local deadline=$((SECONDS + 60))

        while ! "$@"; do
                ((SECONDS < deadline)) || return 1
                sleep 0.1
        done
}

# Starts a client that holds the root until descriptor 9 is closed; sets units_holder and
# units_held.
units_hold() {
        units_client hold "$units_area/root" <"$units_area/input" >"$units_area/log" 2>&1 9>&- &
        units_holder=$!
        exec 9>"$units_area/input"
        units_await units_holds
        units_held=$(units_mounts)
}

units_holds() {
        (($(units_mounts | wc -l) == 2))
}

units_is_replaced() {
        local daemon

        daemon=$(units_daemon)
        ((daemon != 0 && daemon != $1))
}

units_start_by_socket() {
        systemctl start mountatd.socket
        tap_equal "$(systemctl is-active mountatd.service || true)" inactive
        units_client hello
        systemctl start mountatd.service # waits until it is ready: without a bus, a second
        tap_equal "$(systemctl is-active mountatd.service)" active
}

units_leave_one_capability() {
        tap_equal "$(sed -nE 's/^(CapPrm|CapEff|CapBnd|NoNewPrivs):\t0*//p' \
                "/proc/$(units_daemon)/status")" $'200000\n200000\n200000\n1'
}

# What a dev takes is denied by none of the unit's lines.
units_offer_dev() {
        tap_contains "$(units_client hello)" $'\ndev'
}

# units_keep_mounts_through COMMAND…, which replaces the daemon.
units_keep_mounts_through() {
        local before

        units_hold
        before=$(units_daemon)
        "$@"
        units_await units_is_replaced "$before"
        units_client hello
        tap_equal "$(units_mounts)" "$units_held"

        exec 9>&-
        wait "$units_holder" || { cat "$units_area/log"; return 1; }
        tap_equal "$(units_mounts)" ""
}

units_crash() {
        kill -KILL "$(units_daemon)"
}

units_memory() {
        echo "/sys/fs/cgroup$(systemctl show --property=ControlGroup --value mountatd.service)"
}

units_limit_memory() {
        tap_equal "$(<"$(units_memory)/memory.max")" $((1 << 30))
}

# A limit below what it takes. The next one has a cgroup of its own, with the unit's limit again.
units_run_out_of_memory() {
        echo 256K >"$(units_memory)/memory.max"
}

units_release_all_at_a_stop() {
        units_hold
        systemctl stop mountatd.socket mountatd.service
        tap_equal "$(units_mounts)" ""
        rmdir "$units_area"/root/*
        kill "$units_holder" 2>/dev/null || true # it may have given up
}

# units_test BUILD
units_test() {
        tap_test "the units install" units_install "$1"
        tap_test "a client of the socket's group starts the daemon" units_start_by_socket
        tap_test "the daemon has one capability" units_leave_one_capability
        tap_test "it offers a dev" units_offer_dev
        tap_test "systemctl restart keeps what a client holds" \
                units_keep_mounts_through systemctl restart mountatd.service
        tap_test "a crash keeps what a client holds" units_keep_mounts_through units_crash
        tap_test "its memory is limited" units_limit_memory
        tap_test "when it has no more, what a client holds is kept" \
                units_keep_mounts_through units_run_out_of_memory
        tap_test "and its memory is limited again" units_limit_memory
        tap_test "systemctl stop releases what a client holds" units_release_all_at_a_stop
}
