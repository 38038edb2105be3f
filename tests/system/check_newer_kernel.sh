#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A kernel between the oldest and this machine's: Debian 13's, 6.12. Prints TAP.

set -euo pipefail

exec "$(dirname "$(realpath "$0")")/machine/kernel" trixie "$@"
