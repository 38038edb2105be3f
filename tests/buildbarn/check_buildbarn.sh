#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Stock Buildbarn, end to end. Prints TAP.

exec "$(dirname "$(realpath "$0")")/run" "$@"
