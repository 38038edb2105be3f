// SPDX-License-Identifier: Apache-2.0
//
// bb_runner behind mountat-runner.

{
  buildDirectoryPath: '/worker/build',
  // An action sees its input root, and nothing of this container: mountatd provides the rest.
  chrootIntoInputRoot: true,
  // Nothing else in the pod may run as this user: actions have access to its processes.
  runCommandsAs: { userId: 65534, groupId: 65534 },
  cleanProcessTable: true,
  // The actions' user writes to the worker's directories, and the worker removes its files. Doesn't import
  // common.global: in a pod, the worker has the port of its diagnosticsHttpServer.
  global: { setUmask: { umask: 0 } },
  grpcServers: [{
    listenPaths: ['/worker/runner'],
    authenticationPolicy: { allow: {} },
    // When the container is stopped, running actions are completed first, within its grace period.
    stopGracefully: true,
  }],
}
