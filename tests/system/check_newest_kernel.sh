#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The newest kernel that Debian's sid has, which was 7.2 when this was written. Prints TAP.

set -euo pipefail

exec "$(dirname "$(realpath "$0")")/machine/kernel" sid "$@"
