// SPDX-License-Identifier: Apache-2.0

// The cluster's file that examples/config imports.
{
  local storage = { grpc: { client: { address: 'storage:8981' } } },

  blobstore: { contentAddressableStorage: storage, actionCache: storage },
  browserUrl: 'http://localhost',
  maximumMessageSizeBytes: 4 * 1024 * 1024,
  // As in bb-deployments: a port that two processes of a pod can't share.
  global: { diagnosticsHttpServer: { httpServers: [{
    listenAddresses: [':9980'],
    authenticationPolicy: { allow: {} },
  }] } },
}
