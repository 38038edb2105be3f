// SPDX-License-Identifier: Apache-2.0

local common = import 'common.libsonnet';

// A worker with that kind of build directory. It has the plain runner, and others that mount; actions select
// one by its name. With nodes=yes the input root has the devices that are usually configured.
function(kind, buildDirectory) {
  blobstore: common.storage,
  browserUrl: 'http://localhost',
  maximumMessageSizeBytes: common.messageSize,
  scheduler: common.address('scheduler'),
  global: common.global,
  buildDirectories: [buildDirectory {
    runners: [{
      endpoint: common.address(kind + '-' + runner),
      concurrency: 8,
      maximumFilePoolFileCount: 10000,
      maximumFilePoolSizeBytes: 1024 * 1024 * 1024,
      platform: { properties: [
        { name: 'build-directory', value: kind },
        { name: 'nodes', value: nodes },
        { name: 'runner', value: runner },
      ] },
      workerId: { 'build-directory': kind, runner: runner, nodes: nodes },
      inputRootCharacterDeviceNodes:
        if nodes == 'yes' then ['full', 'null', 'random', 'tty', 'urandom', 'zero'] else [],
    } for runner in std.split(std.extVar('RUNNERS'), ',') for nodes in ['no', 'yes']],
  }],
  filePool: { blockDevice: { file: {
    path: common.area + '/' + kind + '/pool',
    sizeBytes: 1024 * 1024 * 1024,
  } } },
  inputDownloadConcurrency: 10,
  outputUploadConcurrency: 11,
  directoryCache: {
    maximumCount: 10000,
    maximumSizeBytes: 64 * 1024 * 1024,
    cacheReplacementPolicy: 'LEAST_RECENTLY_USED',
  },
}
