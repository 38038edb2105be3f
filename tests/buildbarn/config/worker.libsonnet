// SPDX-License-Identifier: Apache-2.0

local common = import 'common.libsonnet';

// A worker whose build directory is of that kind. It has both runners: the one behind
// mountat-runner, which actions ask for with mounts=yes, and the plain one.
function(kind, buildDirectory) {
  blobstore: common.storage,
  browserUrl: 'http://localhost',
  maximumMessageSizeBytes: common.messageSize,
  scheduler: common.address('scheduler'),
  global: common.global,
  buildDirectories: [buildDirectory {
    runners: [{
      endpoint: common.address(kind + '-' + runner.socket),
      concurrency: 8,
      maximumFilePoolFileCount: 10000,
      maximumFilePoolSizeBytes: 1024 * 1024 * 1024,
      platform: { properties: [
        { name: 'build-directory', value: kind },
        { name: 'mounts', value: runner.mounts },
      ] },
      workerId: { 'build-directory': kind, mounts: runner.mounts },
    } for runner in [
      { socket: 'mountat', mounts: 'yes' },
      { socket: 'runner', mounts: 'no' },
    ]],
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
