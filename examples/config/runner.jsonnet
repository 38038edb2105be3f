// SPDX-License-Identifier: Apache-2.0
//
// bb_runner behind mountat-runner.

{
  buildDirectoryPath: '/worker/build',
  // What mountatd is for: an action sees its input root, and nothing of this container.
  chrootIntoInputRoot: true,
  // A user that nothing else runs as, not in the whole pod: actions see its processes.
  runCommandsAs: { userId: 65534, groupId: 65534 },
  cleanProcessTable: true,
  // Directories of the worker's, which the action's user fills and the worker removes. Nothing of
  // common.global: in a pod, the port of its diagnosticsHttpServer is the worker's.
  global: { setUmask: { umask: 0 } },
  grpcServers: [{
    listenPaths: ['/worker/runner'],
    authenticationPolicy: { allow: {} },
    // When the container is stopped, running actions end first, within the time that it gets for that.
    stopGracefully: true,
  }],
}
