# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# mountat-runner, installed from its package and set up by the commands of its README.md, between bb_worker and
# bb_runner. Tests those failures in the README that need systemd.

# runner_prepare VERSION: makes a next version of the package.
runner_prepare() {
        buildbarn_prepare
        package_make_next mountat-runner "$1"
}

# By the README's command, on a machine where Buildbarn isn't configured yet.
runner_installs() {
        machine_run sh -c "cd /srv/packages && echo y | DEBIAN_FRONTEND=noninteractive \
                $(runner_readme_lines 'apt install')"
        runner_starts
}

runner_starts() {
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

# runner_has_logged TEXT: whether it has, since its last start.
runner_has_logged() {
        buildbarn_has_logged mountat-runner "$1"
}

# Without mountat-runner between worker and runner, an action has no /proc, and nothing is logged.
runner_is_not_between() {
        local status=0

        machine_run sh -c "$(runner_readme_lines 'install -d')"
        buildbarn_runner
        buildbarn_worker native 's|/run/mountat-runner/|/run/bb_runner/|'
        machine_run systemctl restart bb_runner bb_worker
        buildbarn_act "${buildbarn_reads_exe[@]}" || status=$?
        tap_equal "$status" 1
        tap_equal "$(runner_show StatusText | cut --delimiter=';' --fields=1)" "0 actions running"
}

# By the README's commands and files: the group, two lines, the worker's configuration, the restart.
runner_is_set_up() {
        local variable file

        machine_run sh -c "$(runner_readme_lines usermod)"
        for file in mountatd mountat-runner; do
                variable=$(tr a-z- A-Z_ <<<"$file")_OPTIONS
                machine_run sed -i "s|^$variable=.*|$(runner_readme_lines "$variable=")|" \
                        "/etc/default/$file"
                tap_equal "$(machine_run grep "^$variable=" "/etc/default/$file")" \
                        "$(runner_readme_lines "$variable=")"
        done
        buildbarn_worker native
        buildbarn_restart
}

# Run by root with no other option, --check uses the service's user and options.
runner_is_checked() {
        local said

        # As in production, only bb_worker may create directories there.
        machine_run chmod 0755 /var/lib/buildbarn/build
        said=$(machine_run mountat-runner --check)
        tap_contains "$said" "All is well."
        tap_contains "$said" "mountat-runner (uid "
        tap_contains "$said" "not a FUSE mount"
        tap_contains "$said" "ok    unmount "
        tap_contains "$said" "ready at /run/mountat-runner/socket"
        machine_await 10 runner_is_ready
        tap_equal "$(mounts)" ""
}

# As shown by systemctl status.
runner_is_ready() {
        [[ $(runner_show StatusText) == "0 actions running; ready" ]]
}

runner_status_has() {
        [[ $(runner_show StatusText) == *"$1"* ]]
}

# runner_check_fails TEXT: --check fails, and prints TEXT.
runner_check_fails() {
        local said status=0

        said=$(machine_run mountat-runner --check) || status=$?
        tap_equal "$status" 1
        tap_contains "$said" "$1"
}

# runner_drop_in UNIT LINE…: writes a drop-in for [Service], or without lines removes it, and restarts the
# unit.
runner_drop_in() {
        local unit=$1 file=/run/systemd/system/$1.service.d/test.conf

        shift
        if (($# > 0)); then
                machine_run install -d "${file%/*}"
                machine_run tee "$file" < <(printf '%s\n' '[Service]' "$@")
        else
                machine_run rm "$file"
        fi
        machine_run systemctl daemon-reload
        machine_run systemctl restart "$unit"
}

runner_cannot_reach_bb_runner() {
        buildbarn_runner /setUmask/d
        machine_run systemctl restart bb_runner
        machine_await 10 runner_check_fails "permission denied" # once it listens
        runner_check_fails "FAIL  bb_runner        bb_runner: no answer"
        runner_check_fails UMask=0000
        buildbarn_runner
        machine_run systemctl restart bb_runner
        machine_await 10 machine_run mountat-runner --check
}

# This shows only when an action runs.
runner_cannot_enter_input_roots() {
        local said status=0

        buildbarn_worker native /setUmask/d
        machine_run systemctl restart bb_worker
        said=$(buildbarn_act "${buildbarn_reads_exe[@]}" 2>&1) || status=$?
        tap_equal "$status" 125
        tap_contains "$said" "code = Unavailable"
        tap_contains "$said" "umask 0 (setUmask)"
        buildbarn_worker native
        machine_run systemctl restart mountat-runner bb_worker
        buildbarn_is_green
}

# Only bb_worker itself sees this.
runner_is_closed_to_the_worker() {
        machine_run gpasswd --delete bb_worker mountat-runner
        machine_run systemctl restart bb_worker
        machine_await 10 buildbarn_has_logged bb_worker \
                "/run/mountat-runner/socket: connect: permission denied"
        machine_run sh -c "$(runner_readme_lines usermod)"
        machine_run systemctl restart bb_worker
        buildbarn_is_green
}

runner_has_a_namespace_of_its_own() {
        runner_drop_in mountat-runner PrivateTmp=yes
        machine_await 10 runner_has_logged foreign-namespace
        machine_await 10 runner_status_has "PrivateTmp="
        runner_check_fails "FAIL  service"
        runner_drop_in mountat-runner
        machine_await 10 runner_is_ready
}

# RestrictSUIDSGID= denies openat2(2), needed to open input roots, so the service fails to start and says why.
runner_needs_openat2() {
        runner_drop_in mountat-runner RestrictSUIDSGID=yes Restart=no || true
        machine_await 10 runner_has_failed
        machine_await 10 machine_journal_has "openat2 doesn't work here: function not implemented" \
                --unit=mountat-runner.service
        runner_drop_in mountat-runner
}

runner_has_failed() {
        [[ $(runner_show ActiveState) == failed ]]
}

# Manually installed files hide the package's, until README.md's command removes them.
runner_is_hidden() {
        local words

        sed 's|^ExecStart=/usr/sbin|ExecStart=/usr/libexec|' \
                "$machine_root/lib/systemd/system/mountat-runner.service" |
                machine_run tee /etc/systemd/system/mountat-runner.service >/dev/null
        machine_run systemctl daemon-reload
        machine_run systemctl restart mountat-runner || true
        machine_await 10 machine_journal_has 203/EXEC --unit=mountat-runner.service
        tap_equal "$(runner_show FragmentPath)" /etc/systemd/system/mountat-runner.service
        words=$(grep -oP '`\Krm [^`]+' "$runner_readme")
        machine_run install -D /dev/null /etc/sysusers.d/mountat-runner.conf
        machine_run install /dev/null /usr/libexec/mountat-runner
        machine_run sh -c "$words"
        machine_run systemctl daemon-reload
        machine_run systemctl restart mountat-runner
        machine_await 10 runner_is_ready
}

# When bb_runner is killed, its unit ends the actions that it leaves.
runner_unit_ends_actions() {
        buildbarn_act /bin/sleep 3600 &
        machine_await 10 machine_run pgrep --full --uid buildbarn-action 'sleep 3600'
        machine_run systemctl kill --signal=KILL --kill-who=main bb_runner
        machine_await 10 runner_has_no_action
        wait "$!" || true
}

runner_has_no_action() {
        ! machine_run pgrep --uid buildbarn-action
}

# The other kind of build directory, by changing one word of README.md's file.
runner_serves_fuse() {
        buildbarn_worker fuse
        buildbarn_restart
        buildbarn_is_green
        tap_contains "$(machine_run mountat-runner --check)" "a FUSE mount, so virtual"
}

runner_gives_a_dev() {
        machine_run sed -i 's|^\(MOUNTAT_RUNNER_OPTIONS=.*\)"$|\1 --mount=proc,sys,dev"|' \
                /etc/default/mountat-runner
        machine_run systemctl restart mountat-runner
        tap_equal "$(buildbarn_act /bin/sh -c 'echo gone >/dev/null && readlink /dev/fd')" /proc/self/fd
}

runner_is_kept_out_of_fuse() {
        buildbarn_worker fuse /allowOther/d
        machine_run systemctl restart bb_worker
        machine_await 10 runner_check_fails "permission denied"
        runner_check_fails allowOther
        runner_check_fails "the service at /run/mountat-runner/socket answers: this host: cannot stat the build directory"
        buildbarn_worker fuse
        machine_run systemctl restart bb_worker
        machine_await 10 machine_run mountat-runner --check
}

# Other services don't see bb_worker's FUSE mount then, but an old one without a server, or none.
runner_does_not_see_fuse() {
        runner_drop_in bb_worker PrivateTmp=yes
        machine_await 10 runner_check_fails \
                "transport endpoint is not connected: nothing serves this FUSE mount: is bb_worker running"
        machine_run umount --lazy /var/lib/buildbarn/build
        tap_contains "$(machine_run mountat-runner --check)" "not a FUSE mount"
        runner_drop_in bb_worker
        buildbarn_is_green
}

# The next version runs, and changed options stay.
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
        buildbarn_is_green
}

# SIGTERM is a clean exit, and an upgrade doesn't enable a disabled service.
runner_stays_disabled() {
        machine_run systemctl disable --now mountat-runner.service
        tap_equal "$(runner_show Result)" success
        machine_run dpkg --install /srv/packages/mountat-runner.next.deb
        tap_equal "$(machine_run systemctl is-enabled mountat-runner.service || true)" disabled
        tap_equal "$(runner_show ActiveState)" inactive
        machine_run systemctl enable --now mountat-runner.service
}

# The configuration stays and, as is customary, the users.
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
        buildbarn_stop
        machine_options ""
}
