# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# D-Bus: the system bus of the machine with its policy, activation and polkit.

manager=(org.mountat1 /org/mountat1 org.mountat1.Manager)

# README.md's commands that call the daemon, unchanged.
readme_lines_work() {
        local line lines

        lines=$(sed -nE 's/^ {4}(busctl .*org\.mountat1.*)$/\1/p' "$repository/README.md")
        [[ $(wc -l <<<"$lines") -ge 3 ]]
        machine_run systemctl stop mountatd.service
        while IFS= read -r line; do
                echo "$line"
                machine_run sh -c "$line" </dev/null
        done <<<"$lines"
        tap_equal "$(mounts)" ""
}

introspection_is_complete() {
        local output

        output=$(machine_run busctl introspect "${manager[@]}")
        tap_contains "$output" ".MountPath"
        tap_contains "$output" "a(tuussast)"
        tap_contains "$output" "a(tuussasta{sv})"
        tap_contains "$output" ".UnmountPath"
        # No method takes descriptors, and there is no signal.
        ! grep -q -e '^\.Mount ' -e signal <<<"$output"
        tap_contains "$(machine_run busctl introspect org.mountat1 /org/mountat1 --xml-interface)" \
                '<arg type="as" name="file_systems" direction="in"/>'
        tap_equal "$(machine_run busctl get-property "${manager[@]}" Version)" "s \"$version\""
        tap_equal "$(machine_run busctl get-property "${manager[@]}" MaxTargets)" "u 16"
}

call_starts_the_service() {
        machine_run systemctl stop mountatd.service
        tap_equal "$(machine_show ActiveState)" inactive
        tap_equal "$(machine_run busctl call "${manager[@]}" ListLeases)" "a(tuussast) 0"
        tap_equal "$(machine_show ActiveState)" active
}

# mount_by_path USER: mounts as USER by busctl and prints its answer.
mount_by_path() {
        machine_as "$1" busctl call "${manager[@]}" MountPath sas /srv/ci/1 2 proc sysfs 2>&1
}

polkit_denies() {
        local output

        machine_run install -d /srv/ci /srv/ci/1 /srv/ci/1/proc /srv/ci/1/sys
        ! output=$(mount_by_path ci)
        tap_contains "$output" "polkit doesn't authorise you to do this"
        tap_equal "$(mounts)" ""
}

# The polkit rule in org.mountat1(5), with a user of this machine.
polkit_allows() {
        sed -n '/^# POLKIT/,/^# FILES/{ /^```/,/^```/{ /^```/d; p } }' \
                "$repository/man/org.mountat1.5.scd" \
                >"$machine_root/etc/polkit-1/rules.d/10-mountatd-test.rules"
        chmod 0644 "$machine_root/etc/polkit-1/rules.d/10-mountatd-test.rules"
        machine_run systemctl restart polkit.service
        tap_contains "$(mount_by_path ci | sed -E 's/[0-9]{10,}/LEASE/')" "t LEASE"
        tap_equal "$(mounts)" "$(printf '%s\n' /srv/ci/1/proc /srv/ci/1/sys)"
        ! mount_by_path stranger
        machine_run busctl call "${manager[@]}" UnmountPath s /srv/ci/1
        tap_equal "$(mounts)" ""
        # The path in the question must be the directory's.
        ! machine_as ci busctl call "${manager[@]}" MountPath sas /srv/ci/../root 1 proc
}

# A lease of root's, which a member of the group may release if a polkit rule allows exactly that lease.
polkit_is_told_of_the_lease() {
        local lease rule=$machine_root/etc/polkit-1/rules.d/20-mountatd-test.rules output

        lease=$(machine_run mountatctl mount /srv/ci/1)
        ! output=$(machine_as runner mountatctl unmount "$lease" 2>&1)
        tap_contains "$output" "polkit doesn't authorise you to do this"
        cat >"$rule" <<END
polkit.addRule(function(action, subject) {
    if (action.id == "org.mountat1.unmount-others" && action.lookup("lease") == "$lease")
        return polkit.Result.YES;
});
END
        chmod 0644 "$rule"
        machine_run systemctl restart polkit.service
        machine_as runner mountatctl unmount "$lease"
        tap_equal "$(mounts)" ""
        tap_contains "$(machine_run pkaction --verbose --action-id org.mountat1.unmount-others)" \
                '$(lease)'
}

# polkit accepts questions about other users only from root and from the owner named in the action.
polkit_answers_the_user_variant() {
        machine_as ci busctl call "${manager[@]}" MountPath sas /srv/ci/1 2 proc sysfs
        tap_equal "$(mounts)" "$(printf '%s\n' /srv/ci/1/proc /srv/ci/1/sys)"
        machine_run busctl call "${manager[@]}" UnmountPath s /srv/ci/1
}

# Leases made over D-Bus outlive a restart, and end at a stop.
bus_leases_outlive_a_restart() {
        local ids

        machine_run mountatctl mount /srv/ci/1
        ids=$(mount_ids)
        machine_run systemctl restart mountatd.service
        sleep 1
        tap_equal "$(mount_ids)" "$ids"
        tap_contains "$(machine_run mountatctl list)" /srv/ci/1
        machine_run systemctl stop mountatd.service
        tap_equal "$(mounts)" ""
}

# Each call comes at about the end of the previous one's idle timeout: either the exiting instance or the
# next one answers it.
calls_meet_idle_exits() {
        machine_options --idle-timeout=1
        machine_run sh -e -c 'for ms in 00 03 06 09 12 15 18 21 24 27 30 33; do
                timeout 20 busctl call org.mountat1 /org/mountat1 org.mountat1.Manager ListLeases
                sleep 1.$ms; done'
        machine_await 10 service_is_inactive
        tap_equal "$(machine_show Result)" success
        machine_options ""
}

# Started explicitly, it is ready once it is on the bus.
log_level_is_set() {
        machine_run systemctl stop mountatd.service
        machine_run systemctl start mountatd.service
        machine_run systemctl service-log-level mountatd.service debug
        tap_equal "$(machine_run systemctl service-log-level mountatd.service)" debug
        hello
        machine_await 10 machine_has_logged 4ad3524f4fa34901aba5cc3e70163276 "hello: done"
        machine_run sh -e -c 'for i in $(seq 100); do
                systemctl service-log-level mountatd.service info; done'
}

# The bus policy denies it to all other users.
log_level_is_for_root() {
        local output

        ! output=$(machine_as runner busctl set-property org.mountat1 \
                /org/freedesktop/LogControl1 org.freedesktop.LogControl1 LogLevel s debug 2>&1)
        tap_contains "$output" "Access denied"
}
