// SPDX-License-Identifier: Apache-2.0

local common = import 'common.libsonnet';

function(kind) {
  buildDirectoryPath: common.area + '/' + kind + '/build',
  chrootIntoInputRoot: true,
  global: common.global,
  grpcServers: [common.server(kind + '-' + std.extVar('RUNNER'))],
  // A user of the actions' own: see "What is not isolated" in client/buildbarn/README.md.
  runCommandsAs: { userId: 65534, groupId: 65534 },
}
