#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The oldest kernel that mountatd is made for: Debian 12's, 6.1. Prints TAP.

set -euo pipefail

exec "$(dirname "$(realpath "$0")")/machine/kernel" bookworm "$@"
