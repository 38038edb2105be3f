// SPDX-License-Identifier: Apache-2.0

(import 'runner.libsonnet')('native')
