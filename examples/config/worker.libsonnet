// SPDX-License-Identifier: Apache-2.0
//
// What the workers of both kinds have. common.libsonnet is that of the cluster.

local common = import 'common.libsonnet';

// A worker whose build directory is of that kind, with one runner, behind mountat-runner.
function(buildDirectory) {
  blobstore: common.blobstore,
  browserUrl: common.browserUrl,
  maximumMessageSizeBytes: common.maximumMessageSizeBytes,
  scheduler: { address: 'scheduler:8983' },
  // What it makes, the user of the actions fills.
  global: common.global { setUmask: { umask: 0 } },
  buildDirectories: [buildDirectory {
    runners: [{
      // It would be unix:///worker/runner without mountat-runner.
      endpoint: { address: 'unix:///worker/mountat-runner' },
      concurrency: 8,
      // The scheduler matches it exactly: put what the cluster's actions ask for.
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
