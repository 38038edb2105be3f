# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# Stock Buildbarn in the machine, as services: a cluster, and a worker host configured with the files in
# mountat-runner's README.md, unchanged.

runner_readme=$repository/client/buildbarn/README.md
# Where the configuration of the cluster, tests/buildbarn/config, has its sockets.
buildbarn_cluster=/run/cluster

# runner_readme_lines PATTERN: the lines of README.md's code blocks that begin with it.
runner_readme_lines() {
        grep -oP "^ {7}\K$1.*" "$runner_readme"
}

# runner_readme_file NAME: the file of that name in README.md, whose first line is its name.
runner_readme_file() {
        sed -n "\|^// $1\$|,/^\`\`\`\$/{/^\`\`\`\$/!p}" "$runner_readme"
}

# buildbarn_unit PROGRAM CONFIGURATION LINE…: an operator's unit, with these lines in [Service].
buildbarn_unit() {
        local program=$1 configuration=$2

        shift 2
        machine_run tee "/etc/systemd/system/$program.service" >/dev/null < <(
                printf '%s\n' '[Service]' "ExecStart=/srv/buildbarn/$program $configuration" \
                        Restart=always RestartSec=1s "$@"
        )
        machine_run systemctl daemon-reload
}

# The cluster, with its host names, and the programs.
buildbarn_prepare() {
        local config=/srv/buildbarn/config program

        buildbarn_make
        install -D --target-directory="$machine_root/srv/buildbarn" \
                "$buildbarn_bin"/{bb_storage,bb_scheduler,bb_worker,bb_runner,buildbarn}
        cp -r "$buildbarn/config" "$machine_root$config"
        echo "(import 'scheduler.jsonnet') { workerGrpcServers: [{
  listenAddresses: ['127.0.0.1:8983'],
  authenticationPolicy: { allow: {} },
}] }" >"$machine_root$config/cluster.jsonnet"
        echo "127.0.0.1 localhost scheduler" >"$machine_root/etc/hosts"
        machine_run install -d "$buildbarn_cluster"
        buildbarn_unit bb_storage "$config/storage.jsonnet" Environment="AREA=$buildbarn_cluster"
        buildbarn_unit bb_scheduler "$config/cluster.jsonnet" Environment="AREA=$buildbarn_cluster"
        machine_run systemctl start bb_storage bb_scheduler
        for program in storage client; do
                machine_await 10 machine_run test -S "$buildbarn_cluster/$program.sock"
        done

        # Files and directories of an overlay have different devices, which bb_worker takes for mounts.
        machine_run install -d /var/lib/buildbarn
        machine_run mount -t tmpfs buildbarn /var/lib/buildbarn
        machine_run useradd --system bb_worker
        machine_run install -d /etc/buildbarn
        echo "local address = { address: 'unix://$buildbarn_cluster/storage.sock' };
{
  blobstore: {
    contentAddressableStorage: { grpc: { client: address } },
    actionCache: { grpc: { client: address } },
  },
  browserUrl: 'http://localhost',
  maximumMessageSizeBytes: 4 * 1024 * 1024,
  global: {},
}" >"$machine_root/etc/buildbarn/common.libsonnet"
        buildbarn_unit bb_runner /etc/buildbarn/runner.jsonnet RuntimeDirectory=bb_runner \
                "CapabilityBoundingSet=CAP_SYS_CHROOT CAP_SETUID CAP_SETGID CAP_KILL CAP_DAC_OVERRIDE"
        buildbarn_worker native
}

# buildbarn_runner [SED-SCRIPT]: writes bb_runner's configuration, changed by the script.
buildbarn_runner() {
        local uid gid

        uid=$(machine_run id --user buildbarn-action)
        gid=$(machine_run id --group buildbarn-action)
        runner_readme_file runner.jsonnet |
                sed -E "s/(userId: )[0-9]+/\1$uid/; s/(groupId: )[0-9]+/\1$gid/; ${1:-}" \
                        >"$machine_root/etc/buildbarn/runner.jsonnet"
}

# buildbarn_worker KIND [SED-SCRIPT]: writes bb_worker's configuration and unit, for that kind of build
# directory.
buildbarn_worker() {
        local user=bb_worker

        if [[ $1 == fuse ]]; then
                user=root
        fi
        runner_readme_file worker.jsonnet | sed -E "s/^(local kind = ')native/\1$1/; ${2:-}" \
                >"$machine_root/etc/buildbarn/worker.jsonnet"
        buildbarn_unit bb_worker /etc/buildbarn/worker.jsonnet "User=$user"
}

# Runs README.md's command.
buildbarn_restart() {
        local restart

        read -ra restart < <(runner_readme_lines 'systemctl restart')
        machine_run "${restart[@]}"
}

# buildbarn_act COMMAND…: runs one action without retries, in an input root without proc, sys and dev.
# Prints its output and returns its status, or 125 with the reason if it wasn't run.
buildbarn_act() {
        local status=0

        machine_run /srv/buildbarn/buildbarn -storage "unix:$buildbarn_cluster/storage.sock" \
                -scheduler "unix:$buildbarn_cluster/client.sock" -mountpoints= "$@" || status=$?
        tap_equal "$(mounts)" "" >&2
        return "$status"
}

# A command that fails without /proc.
buildbarn_reads_exe=(/bin/readlink /proc/self/exe)

# An action has the default mounts and runs as README.md's user.
buildbarn_is_green() {
        tap_equal "$(buildbarn_act /bin/sh -c \
                '/bin/readlink /proc/self/exe && test -d /sys/kernel && busybox id -u')" \
                "$(printf '%s\n' /bin/readlink "$(machine_run id --user buildbarn-action)")"
}

# buildbarn_has_logged UNIT TEXT: whether it has, since its last start.
buildbarn_has_logged() {
        machine_run journalctl --output=cat --unit="$1.service" \
                "_SYSTEMD_INVOCATION_ID=$(machine_show InvocationID "$1.service")" |
                grep --quiet --fixed-strings -e "$2"
}

# The worker first: without a scheduler it takes a minute to stop.
buildbarn_stop() {
        machine_run systemctl stop bb_worker
        machine_run systemctl stop bb_runner bb_scheduler bb_storage
}
