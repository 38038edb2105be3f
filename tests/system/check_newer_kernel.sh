#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Joining and mounting on a kernel between the oldest and this machine's: Debian's 6.12 lists mount
# namespaces and says whose processes a pid namespace has, but tells no procfs its pid namespace.
# Others can be named to check_old_kernel.sh.

set -euo pipefail

export MOUNTATD_KERNEL=${MOUNTATD_KERNEL:-linux-image-amd64/bookworm-backports}
exec "$(dirname "$(realpath "$0")")/check_old_kernel.sh" \
        check_daemon_join check_containers check_namespaces check_connection_enter check_run_join \
        check_daemon_mount check_daemon_unmount check_daemon_confinement
