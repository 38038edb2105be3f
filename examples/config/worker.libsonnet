// SPDX-License-Identifier: Apache-2.0
//
// The configuration shared by both kinds of worker. common.libsonnet is the cluster's.

local common = import 'common.libsonnet';

// A worker with that kind of build directory, and one runner behind mountat-runner.
function(buildDirectory) {
  blobstore: common.blobstore,
  browserUrl: common.browserUrl,
  maximumMessageSizeBytes: common.maximumMessageSizeBytes,
  scheduler: { address: 'scheduler:8983' },
  // The actions' user writes to directories that the worker creates.
  global: common.global { setUmask: { umask: 0 } },
  buildDirectories: [buildDirectory {
    runners: [{
      // It would be unix:///worker/runner without mountat-runner.
      endpoint: { address: 'unix:///worker/mountat-runner' },
      concurrency: 8,
      // The scheduler matches it exactly: set the properties that the cluster's actions request.
      platform: { properties: [{ name: 'OSFamily', value: 'linux' }] },
      workerId: { pod: std.extVar('POD_NAME'), node: std.extVar('NODE_NAME') },
      maximumFilePoolFileCount: 100000,
      maximumFilePoolSizeBytes: 1024 * 1024 * 1024,
    }],
  }],
  filePool: { blockDevice: { file: {
    path: '/worker/filepool',
    sizeBytes: 8 * 1024 * 1024 * 1024,
  } } },
  inputDownloadConcurrency: 10,
  outputUploadConcurrency: 11,
  directoryCache: {
    maximumCount: 1000,
    maximumSizeBytes: 1000 * 1024,
    cacheReplacementPolicy: 'LEAST_RECENTLY_USED',
  },
}
