// SPDX-License-Identifier: Apache-2.0

// What examples/config imports as the cluster's.
{
  local storage = { grpc: { client: { address: 'storage:8981' } } },

  blobstore: { contentAddressableStorage: storage, actionCache: storage },
  browserUrl: 'http://localhost',
  maximumMessageSizeBytes: 4 * 1024 * 1024,
  // As in bb-deployments: what two processes of a pod can't have both.
  global: { diagnosticsHttpServer: { httpServers: [{
    listenAddresses: [':9980'],
    authenticationPolicy: { allow: {} },
  }] } },
}
