// SPDX-License-Identifier: Apache-2.0

local common = import 'common.libsonnet';

(import 'worker.libsonnet')('native', {
  native: {
    buildDirectoryPath: common.area + '/native/build',
    cacheDirectoryPath: common.area + '/native/cache',
    maximumCacheFileCount: 10000,
    maximumCacheSizeBytes: 2 * 1024 * 1024 * 1024,
    cacheReplacementPolicy: 'LEAST_RECENTLY_USED',
  },
})
