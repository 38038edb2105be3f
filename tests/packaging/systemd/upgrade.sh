# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# From the release before this one to this one, by their packages, with a lease held in every way that
# there was.

# upgrade_prepare: both releases' packages, a program that is linked with the library of the one
# before, and an input root with one program.
upgrade_prepare() {
        mkdir "$machine_root/srv/previous" "$machine_root/srv/packages"
        cp "$build_previous"/build/*.deb "$machine_root/srv/previous"
        cp "$build_package"/*_"$version"_*.deb "$machine_root/srv/packages"
        gcc -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -I"$build_previous/client" \
                -o "$machine_root/srv/hold_linked" "$tests/packaging/systemd/hold_linked.c" \
                "$build_previous/build/client/libmountat.so"
}

# upgrade_install DIRECTORY [OPTION…]: mountatd and the library. Whoever has edited a configuration
# file that the package changes is asked, and the answer by default is to keep it.
upgrade_install() {
        local directory=$1

        shift
        machine_run sh -c "yes '' | DEBIAN_FRONTEND=noninteractive apt-get install --yes $* \
                $directory/mountatd_*.deb $directory/libmountat0_*.deb" 2>&1
        tap_equal "$(machine_run dpkg --audit)" ""
}

previous_installs() {
        upgrade_files >"$machine_area/files"
        upgrade_install /srv/previous
        package_make_users
        machine_run install -d -o runner /srv/{action,linked,kept}{,/proc,/sys}
        machine_run install -d /srv/ci /srv/ci/{1,2}{,/proc,/sys}
        action_make
        machine_run sed -i 's|^MOUNTATD_OPTIONS=.*|MOUNTATD_OPTIONS="--build-directory=/srv/builds:runner"|' \
                /etc/default/mountatd
        tap_contains "$(machine_as runner mountatctl hello)" "mountatd $previous_version"
}

# upgrade_start UNIT COMMAND…: as a service of the runner's.
upgrade_start() {
        local unit=$1

        shift
        machine_run systemd-run --quiet --unit="$unit" --property=User=runner \
                --property=SupplementaryGroups=mountat \
                --property=StandardOutput="append:/srv/$unit.log" \
                --property=StandardError="append:/srv/$unit.log" "$@"
}

upgrade_has_said() {
        grep -qx "$2" "$machine_root/srv/$1.log"
}

# In a file, since systemd would expand variables.
action_make() {
        cp /bin/busybox "$machine_root/srv/action/sh"
        cat >"$machine_root/srv/action/act" <<'END'
while [ ! -e /stop ]; do
        read -r pid rest </proc/self/stat && [ "$pid" = $$ ] && [ -d /sys/kernel ] &&
                read -r uptime rest </proc/uptime || exit 7
        echo "$uptime" >/seen
        usleep 10000
done
END
}

# An action that looks at what is mounted for it all the time, and ends with 7 when that isn't there.
action_starts() {
        machine_run rm -f /srv/action/stop /srv/action/seen
        upgrade_start action mountatctl run /srv/action -- /sh /act
        machine_await 10 test -s "$machine_root/srv/action/seen"
}

# Whether it has come round since it was asked last.
action_goes_on() {
        local seen

        seen=$(<"$machine_root/srv/action/seen")
        machine_await 10 action_has_seen_more_than "$seen"
}

action_has_seen_more_than() {
        local seen

        seen=$(<"$machine_root/srv/action/seen")
        [[ $seen && $seen != "$1" ]]
}

# By a process that stays, by an action, by a program of somebody else's; and by nobody, for a user and
# for root, over D-Bus.
leases_are_held() {
        holder_start
        action_starts
        upgrade_start linked /srv/hold_linked /srv/linked
        machine_await 10 upgrade_has_said linked mounted
        machine_as runner mountatctl mount /srv/kept >"$machine_area/kept"
        machine_run mountatctl mount /srv/ci/1 >"$machine_area/ci"
        machine_run busctl call org.mountat1 /org/mountat1 org.mountat1.Manager \
                MountPath sas /srv/ci/2 2 proc sysfs
        machine_await 10 status_is '6 leases, 12 mounts, 3 connections, 0 lost workers'
        mount_ids >"$machine_area/ids"
        leases >"$machine_area/leases"
}

# Number, user, pid and place of each.
leases() {
        machine_run mountatctl list --json=short | python3 -c '
import json, sys
for lease in sorted(json.load(sys.stdin), key=lambda lease: lease["place"]):
    print(*(lease[key] for key in ("lease", "uid", "pid", "place")))'
}

this_release_installs() {
        local before

        before=$(machine_show MainPID)
        upgrade_install /srv/packages
        machine_await 10 service_has_another_pid "$before"
        tap_equal "$(machine_run dpkg-query --show --showformat='${Version}\n' mountatd libmountat0)" \
                "$(printf '%s\n' "$version" "$version")"
        hello
        tap_equal "$(mount_ids)" "$(<"$machine_area/ids")"
        action_goes_on
}

# The connections are those of the clients of before, who came back for their leases.
leases_are_held_still() {
        machine_await 10 status_is '6 leases, 12 mounts, 3 connections'
        tap_equal "$(leases)" "$(<"$machine_area/leases")"
        tap_equal "$(mount_ids)" "$(<"$machine_area/ids")"
        tap_contains "$(<"/proc/$machine_leader/root/proc/$(linked_pid)/maps")" \
                "libmountat.so.$previous_version (deleted)"
        action_goes_on
}

linked_pid() {
        machine_show MainPID linked.service
}

leases_are_released() {
        machine_run touch /srv/action/stop
        machine_await 10 unit_has_ended action
        machine_run systemctl stop linked.service
        upgrade_has_said linked unmounted
        machine_as runner mountatctl unmount "$(<"$machine_area/kept")"
        machine_run mountatctl unmount "$(<"$machine_area/ci")"
        machine_run busctl call org.mountat1 /org/mountat1 org.mountat1.Manager \
                UnmountPath s /srv/ci/2
        tap_equal "$(mounts)" "$(printf '%s\n' /srv/root/proc /srv/root/sys)"
        holder_end
}

# unit_has_ended UNIT: well; one that fails stays there.
unit_has_ended() {
        [[ $(machine_show LoadState "$1.service") == not-found ]]
}

options_are_kept() {
        tap_equal "$(machine_run grep ^MOUNTATD_OPTIONS /etc/default/mountatd)" \
                'MOUNTATD_OPTIONS="--build-directory=/srv/builds:runner"'
        machine_as runner sh -c 'mountatctl hold --file-system proc /srv/builds/1 </dev/null'
}

dev_is_new() {
        machine_run install -d -o runner /srv/action/dev
        tap_equal "$(machine_as runner mountatctl run --dev /srv/action -- \
                /sh -c 'head -c 3 /dev/zero | wc -c')" 3
}

linked_program_starts() {
        machine_run rm /srv/linked.log
        upgrade_start linked /srv/hold_linked /srv/linked
        machine_await 10 upgrade_has_said linked mounted
        tap_contains "$(<"/proc/$machine_leader/root/proc/$(linked_pid)/maps")" \
                "libmountat.so.$version"
        machine_run systemctl stop linked.service
        upgrade_has_said linked unmounted
}

# As CHANGELOG.md says; and if a client starts this release once more before it is replaced, what that
# leaves is not in the way of the next upgrade.
previous_is_back() {
        holder_start
        machine_run systemctl stop mountatd.socket mountatd.service
        tap_equal "$(mounts)" ""
        machine_run systemctl kill --signal=KILL holder.service || true
        machine_await 30 holder_is_gone
        machine_run systemctl start mountatd.socket
        hello
        upgrade_install /srv/previous --allow-downgrades
        machine_run test -e /run/mountatd/state
        tap_contains "$(machine_as runner mountatctl hello)" "mountatd $previous_version"
}

# What is called after the project, but for what the test itself has made, in /srv.
upgrade_files() {
        machine_run find /etc /run /usr /var -name '*mountat*'
}

# The line that 0.1 has in its file for a larger machine.
removed_option_is_refused() {
        machine_options "$(sed -nE 's/^#MOUNTATD_OPTIONS="(.*--workers=.*)"$/\1/p' \
                "$machine_root/etc/default/mountatd")"
        holder_start
        action_starts
        mount_ids >"$machine_area/ids"
        upgrade_install /srv/packages
        machine_await 10 upgrade_has_logged \
                "--workers=16: no such option, or a missing or unneeded argument: see --help"
        machine_await 10 upgrade_has_logged "code=exited, status=2/"
        tap_equal "$(mount_ids)" "$(<"$machine_area/ids")"
        action_goes_on
}

upgrade_has_logged() {
        machine_run journalctl --output=cat --unit=mountatd.service |
                grep --quiet --fixed-strings -e "$1"
}

removed_option_is_taken_out() {
        machine_run sed -i '/^MOUNTATD_OPTIONS=/s/ --workers=16//' /etc/default/mountatd
        machine_run systemctl restart mountatd.service
        hello
        machine_await 10 status_is '2 leases, 4 mounts, 2 connections'
        tap_equal "$(mount_ids)" "$(<"$machine_area/ids")"
        action_goes_on
        machine_run touch /srv/action/stop
        machine_await 10 unit_has_ended action
        holder_end
}

# With leases held; of what both releases have made.
purging_leaves_nothing() {
        holder_start
        machine_as runner mountatctl mount /srv/kept
        machine_run apt-get purge --yes mountatd libmountat0
        tap_equal "$(mounts)" ""
        tap_equal "$(upgrade_files)" "$(<"$machine_area/files")"
        machine_run systemctl kill --signal=KILL holder.service || true
}
