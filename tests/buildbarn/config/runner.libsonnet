// SPDX-License-Identifier: Apache-2.0

local common = import 'common.libsonnet';

// The actions have their own user: see "What is not isolated" in client/buildbarn/README.md. A runner named
// cleaning-USER kills that user's remaining processes.
local name = std.extVar('RUNNER');
local cleaning = std.startsWith(name, 'cleaning-');
local user = if cleaning then std.parseInt(std.split(name, '-')[1]) else 65534;

function(kind) {
  buildDirectoryPath: common.area + '/' + kind + '/build',
  chrootIntoInputRoot: true,
  global: common.global,
  grpcServers: [common.server(kind + '-' + name)],
  runCommandsAs: { userId: user, groupId: user },
  cleanProcessTable: cleaning,
}
