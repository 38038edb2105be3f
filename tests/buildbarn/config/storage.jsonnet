// SPDX-License-Identifier: Apache-2.0

local common = import 'common.libsonnet';

local store(blockSize) = {
  backend: common.inMemory(blockSize),
  getAuthorizer: { allow: {} },
  putAuthorizer: { allow: {} },
};

{
  global: common.global,
  grpcServers: [common.server('storage')],
  maximumMessageSizeBytes: common.messageSize,
  contentAddressableStorage: store(common.largestFile) { findMissingAuthorizer: { allow: {} } },
  actionCache: store(4 * 1024 * 1024),
  executeAuthorizer: { deny: {} },
}
