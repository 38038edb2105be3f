// SPDX-License-Identifier: Apache-2.0

(import 'worker.libsonnet')({
  native: {
    buildDirectoryPath: '/worker/build',
    cacheDirectoryPath: '/worker/cache',
    maximumCacheFileCount: 10000,
    maximumCacheSizeBytes: 1024 * 1024 * 1024,
    cacheReplacementPolicy: 'LEAST_RECENTLY_USED',
  },
})
