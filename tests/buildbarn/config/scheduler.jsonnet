// SPDX-License-Identifier: Apache-2.0

local common = import 'common.libsonnet';

{
  global: common.global,
  clientGrpcServers: [common.server('client')],
  workerGrpcServers: [common.server('scheduler')],
  browserUrl: 'http://localhost',
  contentAddressableStorage: common.storage.contentAddressableStorage,
  maximumMessageSizeBytes: common.messageSize,
  executeAuthorizer: { allow: {} },
  modifyDrainsAuthorizer: { allow: {} },
  killOperationsAuthorizer: { allow: {} },
  synchronizeAuthorizer: { allow: {} },
  actionRouter: {
    simple: {
      platformKeyExtractor: { action: {} },
      invocationKeyExtractors: [{ correlatedInvocationsId: {} }],
      initialSizeClassAnalyzer: {
        defaultExecutionTimeout: '600s',
        maximumExecutionTimeout: '600s',
      },
    },
  },
  platformQueueWithNoWorkersTimeout: '900s',
}
