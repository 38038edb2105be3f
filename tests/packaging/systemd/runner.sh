# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# mountat-runner by its own unit, between Buildbarn's bb_runner and one who asks as bb_worker does.

runner_module=$repository/client/buildbarn
runner_buildbarn=(github.com/buildbarn/bb-remote-execution/cmd/bb_runner ./ask)

# runner_prepare: the programs, into the machine; README.md's lines, where they are.
runner_prepare() {
        mkdir "$machine_root/srv/buildbarn"
        cp "$runner_module"/mountat-runner.* "$machine_root/srv/buildbarn"
        (cd "$tests/buildbarn" && go build -o "$machine_root/srv/buildbarn/" "${runner_buildbarn[@]}")
}

# The lines of README.md that begin with that, as they stand there.
runner_readme_lines() {
        grep -oP "^ {7}\K$1.*" "$runner_module/README.md"
}

# The one line that builds it is for this machine, which has a Go; all else is for the other.
runner_is_installed() {
        local build

        build=$(runner_readme_lines "CGO_ENABLED=0 go build")
        (cd "$runner_module" && eval "${build/-o /-o $machine_root}")
        machine_run sh -e -c "cd /srv/buildbarn
                $(runner_readme_lines '(install|systemd-sysusers)')"
        machine_run getent passwd mountat-runner
        machine_options "$(sed -nE 's/^ {7}MOUNTATD_OPTIONS="(.*)"$/\1/p' "$runner_module/README.md")"
        machine_run systemctl enable --now mountat-runner.service
        tap_equal "$(machine_show ActiveState mountat-runner.service)" active
}

# With the configuration of README.md, and without CAP_SYS_ADMIN.
runner_start_buildbarn() {
        sed -n '/^{$/,/^}$/p' "$runner_module/README.md" \
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
}

runner_runs_an_action() {
        local id=/var/lib/buildbarn/build/1

        runner_start_buildbarn
        runner_make_root
        machine_run /srv/buildbarn/ask /run/mountat-runner/socket 1 /bin/readlink /proc/self/exe
        tap_equal "$(cat "$machine_root$id/stdout")" /bin/readlink
        tap_equal "$(machine_run ls "$id/root")" "$(printf '%s\n' bin usr)"
        tap_equal "$(mounts)" ""
}

# As root, with nothing but the option: it is the service's user, with the service's options.
runner_is_checked() {
        local said

        # As an operator leaves it: bb_worker's alone.
        machine_run chmod 0755 /var/lib/buildbarn/build
        said=$(machine_run /usr/libexec/mountat-runner --check)
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
        [[ $(machine_show ActiveState mountat-runner.service) == failed ]]
}

# SIGTERM is a good end; and what no package knows of is taken away.
runner_is_removed() {
        machine_run systemctl disable --now mountat-runner.service
        tap_equal "$(machine_show Result mountat-runner.service)" success
        machine_run systemctl stop bb_runner.service
        machine_run rm /etc/systemd/system/mountat-runner.service /etc/default/mountat-runner \
                /etc/sysusers.d/mountat-runner.conf
        machine_run systemctl daemon-reload
        machine_options ""
}
