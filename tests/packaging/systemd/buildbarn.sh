# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# Stock Buildbarn in the machine, as services: a cluster, and a host that takes part in it, with the files
# of mountat-runner's README.md as they stand there.

runner_readme=$repository/client/buildbarn/README.md
# Of the cluster: where the files of tests/buildbarn/config have their sockets.
buildbarn_cluster=/run/cluster

# The lines of README.md that begin with that, as they stand there.
runner_readme_lines() {
        grep -oP "^ {7}\K$1.*" "$runner_readme"
}

# The file that README.md has by that name: its first line says so.
runner_readme_file() {
        sed -n "\|^// $1\$|,/^\`\`\`\$/{/^\`\`\`\$/!p}" "$runner_readme"
}

# buildbarn_unit PROGRAM CONFIGURATION LINE…: a unit of an operator's, with these lines in [Service].
buildbarn_unit() {
        local program=$1 configuration=$2

        shift 2
        machine_run tee "/etc/systemd/system/$program.service" >/dev/null < <(
                printf '%s\n' '[Service]' "ExecStart=/srv/buildbarn/$program $configuration" \
                        Restart=always RestartSec=1s "$@"
        )
        machine_run systemctl daemon-reload
}

# The cluster, which a host finds by its names, and the programs.
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

        # The machine's overlay has files and directories of different devices, which bb_worker takes for mounts.
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

# buildbarn_runner [SED-SCRIPT]: bb_runner's file, changed by that.
buildbarn_runner() {
        local uid gid

        uid=$(machine_run id --user buildbarn-action)
        gid=$(machine_run id --group buildbarn-action)
        runner_readme_file runner.jsonnet |
                sed -E "s/(userId: )[0-9]+/\1$uid/; s/(groupId: )[0-9]+/\1$gid/; ${1:-}" \
                        >"$machine_root/etc/buildbarn/runner.jsonnet"
}

# buildbarn_worker KIND [SED-SCRIPT]: bb_worker's file and its unit, for that kind of build directory.
buildbarn_worker() {
        local user=bb_worker

        if [[ $1 == fuse ]]; then
                user=root
        fi
        runner_readme_file worker.jsonnet | sed -E "s/^(local kind = ')native/\1$1/; ${2:-}" \
                >"$machine_root/etc/buildbarn/worker.jsonnet"
        buildbarn_unit bb_worker /etc/buildbarn/worker.jsonnet "User=$user"
}

# As README.md has it done.
buildbarn_restart() {
        local restart

        read -ra restart < <(runner_readme_lines 'systemctl restart')
        machine_run "${restart[@]}"
}

# buildbarn_act COMMAND…: one action, tried once, in an input root without proc, sys and dev. Its
# output and its status, or 125 with the reason if it wasn't run.
buildbarn_act() {
        local status=0

        machine_run /srv/buildbarn/buildbarn -storage "unix:$buildbarn_cluster/storage.sock" \
                -scheduler "unix:$buildbarn_cluster/client.sock" -mountpoints= "$@" || status=$?
        tap_equal "$(mounts)" "" >&2
        return "$status"
}

# What fails without /proc.
buildbarn_reads_exe=(/bin/readlink /proc/self/exe)

# buildbarn_is_green: with the mounts that there are by default, as the user of README.md.
buildbarn_is_green() {
        tap_equal "$(buildbarn_act /bin/sh -c \
                '/bin/readlink /proc/self/exe && test -d /sys/kernel && busybox id -u')" \
                "$(printf '%s\n' /bin/readlink "$(machine_run id --user buildbarn-action)")"
}

# buildbarn_has_logged UNIT TEXT: since its last start.
buildbarn_has_logged() {
        machine_run journalctl --output=cat --unit="$1.service" \
                "_SYSTEMD_INVOCATION_ID=$(machine_show InvocationID "$1.service")" |
                grep --quiet --fixed-strings -e "$2"
}

# The worker first: without a scheduler it waits for one for a minute before it ends.
buildbarn_stop() {
        machine_run systemctl stop bb_worker
        machine_run systemctl stop bb_runner bb_scheduler bb_storage
}
