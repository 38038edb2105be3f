# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# mountat-runner by its package, set up in the words of its README, between Buildbarn's bb_runner and one
# who asks as bb_worker does.

runner_readme=$repository/client/buildbarn/README.md
runner_buildbarn=(github.com/buildbarn/bb-remote-execution/cmd/bb_runner ./ask)

# The lines of README.md that begin with that, as they stand there.
runner_readme_lines() {
        grep -oP "^ {7}\K$1.*" "$runner_readme"
}

# runner_prepare VERSION: Buildbarn's programs, into the machine, and the package as a next version.
runner_prepare() {
        mkdir -p "$machine_root/srv/buildbarn"
        (cd "$tests/buildbarn" && go build -o "$machine_root/srv/buildbarn/" "${runner_buildbarn[@]}")
        package_make_next mountat-runner "$1"
}

# On a machine where nothing of Buildbarn is yet.
runner_installs() {
        machine_run sh -c 'dpkg --install /srv/packages/mountat-runner_*.deb'
        tap_equal "$(machine_run dpkg --audit)" ""
        tap_equal "$(machine_run systemctl is-enabled mountat-runner.service)" enabled
        tap_equal "$(runner_show ActiveState)" active
        tap_equal "$(runner_show NRestarts)" 0
        tap_equal "$(machine_run id --name --groups mountat-runner)" "mountat-runner mountat"
        tap_equal "$(machine_run id --name --groups buildbarn-action)" buildbarn-action
        tap_equal "$(machine_run stat --format '%U %G %a' /etc/default/mountat-runner \
                /usr/sbin/mountat-runner /run/mountat-runner/socket)" "$(printf '%s\n' \
                "root root 644" "root root 755" "mountat-runner mountat-runner 660")"
        machine_await 10 runner_has_logged "not ready"
}

runner_show() {
        machine_show "$1" mountat-runner.service
}

# runner_has_logged TEXT: since its last start.
runner_has_logged() {
        machine_run journalctl --output=cat --unit=mountat-runner.service \
                "_SYSTEMD_INVOCATION_ID=$(runner_show InvocationID)" |
                grep --quiet --fixed-strings -e "$1"
}

# With the configuration of README.md, and without CAP_SYS_ADMIN.
runner_start_buildbarn() {
        local uid gid

        uid=$(machine_run id --user buildbarn-action)
        gid=$(machine_run id --group buildbarn-action)
        sed -n '/^{$/,/^}$/p' "$runner_readme" |
                sed -E "s/(userId: )[0-9]+/\1$uid/; s/(groupId: )[0-9]+/\1$gid/" \
                        >"$machine_root/srv/buildbarn/bb_runner.jsonnet"
        machine_run systemd-run --quiet --unit=bb_runner --property=RuntimeDirectory=bb_runner \
                --property=UMask=0 --property=CapabilityBoundingSet="CAP_SYS_CHROOT CAP_SETUID \
                CAP_SETGID CAP_KILL CAP_DAC_OVERRIDE" \
                /srv/buildbarn/bb_runner /srv/buildbarn/bb_runner.jsonnet
        machine_await 10 machine_run test -S /run/bb_runner/socket
}

# An input root as bb_worker makes one with umask 0, of another user, and with no /proc.
runner_make_root() {
        machine_run install -d -m 0777 -o stranger /var/lib/buildbarn /var/lib/buildbarn/build \
                /var/lib/buildbarn/build/1{,/tmp,/root{,/bin,/usr,/usr/bin}}
        machine_run cp /bin/busybox /var/lib/buildbarn/build/1/root/usr/bin/env
        machine_run cp /bin/busybox /var/lib/buildbarn/build/1/root/bin/readlink
        machine_run cp /bin/busybox /var/lib/buildbarn/build/1/root/bin/id
}

# The two lines, and the restart but for the worker, whose part is ours.
runner_is_set_up() {
        local variable file restart

        runner_make_root
        runner_start_buildbarn
        # Who connects, by that group.
        machine_run useradd --groups mountat-runner bb_worker
        for file in mountatd mountat-runner; do
                variable=$(tr a-z- A-Z_ <<<"$file")_OPTIONS
                machine_run sed -i "s|^$variable=.*|$(runner_readme_lines "$variable=")|" \
                        "/etc/default/$file"
                tap_equal "$(machine_run grep "^$variable=" "/etc/default/$file")" \
                        "$(runner_readme_lines "$variable=")"
        done
        read -ra restart < <(runner_readme_lines 'systemctl restart' | sed 's/ bb_worker//')
        machine_run "${restart[@]}"
        machine_await 10 runner_has_logged "ready: actions can have"
}

# runner_acts COMMAND…: as an action; what it prints.
runner_acts() {
        local id=/var/lib/buildbarn/build/1

        rm -f "$machine_root$id"/{stdout,stderr}
        machine_as bb_worker /srv/buildbarn/ask /run/mountat-runner/socket 1 "$@" >&2
        cat "$machine_root$id/stdout"
        tap_equal "$(machine_run ls "$id/root")" "$(printf '%s\n' bin usr)" >&2
        tap_equal "$(mounts)" "" >&2
}

runner_runs_an_action() {
        tap_equal "$(runner_acts /bin/readlink /proc/self/exe)" /bin/readlink
        tap_equal "$(runner_acts /bin/id -u)" "$(machine_run id --user buildbarn-action)"
}

# As root, with nothing but the option: it is the service's user, with the service's options.
runner_is_checked() {
        local said

        # As an operator leaves it: bb_worker's alone.
        machine_run chmod 0755 /var/lib/buildbarn/build
        said=$(machine_run mountat-runner --check)
        tap_contains "$said" "All is well."
        tap_contains "$said" "mountat-runner (uid "
        tap_contains "$said" "ok    unmount "
        tap_contains "$said" "ready, at /run/mountat-runner/socket"
        machine_await 10 runner_is_ready
        tap_equal "$(mounts)" ""
}

# systemctl status shows that.
runner_is_ready() {
        [[ $(machine_show StatusText mountat-runner.service) == "0 actions running; ready" ]]
}

# RestrictSUIDSGID= makes openat2(2) fail, without which no input root is opened.
runner_needs_openat2() {
        local directory=/run/systemd/system/mountat-runner.service.d

        machine_run mkdir -p "$directory"
        echo $'[Service]\nRestrictSUIDSGID=yes\nRestart=no' |
                machine_run tee "$directory/test.conf"
        machine_run systemctl daemon-reload
        # It says so itself, since the unit is told when the program is ready.
        machine_run systemctl restart mountat-runner.service || true
        machine_await 10 runner_has_failed
        tap_contains "$(machine_run journalctl --output=cat --unit=mountat-runner.service)" \
                "openat2 doesn't work here: function not implemented"
        machine_run rm "$directory/test.conf"
        machine_run systemctl daemon-reload
        machine_run systemctl restart mountat-runner.service
}

runner_has_failed() {
        [[ $(runner_show ActiveState) == failed ]]
}

# The next version runs; options that were changed stay.
runner_upgrades() {
        local before options

        machine_run sed -i 's|"$| --listen-mode=0666"|' /etc/default/mountat-runner
        options=$(machine_run cat /etc/default/mountat-runner)
        before=$(runner_show MainPID)
        machine_run dpkg --install /srv/packages/mountat-runner.next.deb
        tap_contains "$(machine_run dpkg-query --show mountat-runner)" "+next"
        [[ $(runner_show MainPID) != "$before" ]]
        tap_equal "$(machine_run cat /etc/default/mountat-runner)" "$options"
        tap_equal "$(machine_run stat --format %a /run/mountat-runner/socket)" 666
        tap_equal "$(runner_acts /bin/readlink /proc/self/exe)" /bin/readlink
}

# SIGTERM is a good end; and an upgrade changes no administrator's mind.
runner_stays_disabled() {
        machine_run systemctl disable --now mountat-runner.service
        tap_equal "$(runner_show Result)" success
        machine_run dpkg --install /srv/packages/mountat-runner.next.deb
        tap_equal "$(machine_run systemctl is-enabled mountat-runner.service || true)" disabled
        tap_equal "$(runner_show ActiveState)" inactive
        machine_run systemctl enable --now mountat-runner.service
}

# It leaves the configuration and, as is the custom, the users.
runner_is_removed() {
        machine_run dpkg --remove mountat-runner
        tap_equal "$(runner_show ActiveState)" inactive
        tap_equal "$(runner_show LoadState)" masked
        machine_run test ! -e /run/mountat-runner
        machine_run test -e /etc/default/mountat-runner
        machine_run getent passwd mountat-runner buildbarn-action
}

runner_is_purged() {
        machine_run dpkg --purge mountat-runner
        tap_equal "$(machine_run find /etc /var/lib/systemd /usr -name '*mountat-runner*')" ""
        machine_run systemctl stop bb_runner.service
        machine_options ""
}
