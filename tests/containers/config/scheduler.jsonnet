// SPDX-License-Identifier: Apache-2.0

local server(port) = { listenAddresses: [':' + port], authenticationPolicy: { allow: {} } };
local storage = { grpc: { client: { address: '127.0.0.1:8981' } } };

(import '../../buildbarn/config/scheduler.jsonnet') {
  clientGrpcServers: [server(8982)],
  workerGrpcServers: [server(8983)],
  contentAddressableStorage: storage,
}
