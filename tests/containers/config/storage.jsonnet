// SPDX-License-Identifier: Apache-2.0

(import '../../buildbarn/config/storage.jsonnet') {
  grpcServers: [{ listenAddresses: [':8981'], authenticationPolicy: { allow: {} } }],
}
