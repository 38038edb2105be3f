// SPDX-License-Identifier: Apache-2.0

local common = import 'common.libsonnet';

(import 'worker.libsonnet')({
  virtual: {
    maximumExecutionTimeoutCompensation: '3600s',
    maximumWritableFileUploadDelay: '60s',
    mount: {
      mountPath: '/worker/build',
      fuse: {
        // mountat-runner and the actions run as other users.
        allowOther: true,
        mountMethod: 'DIRECT',
        directoryEntryValidity: '300s',
        inodeAttributeValidity: '300s',
      },
    },
  },
}) {
  // Without a cache, FUSE fetches a whole file for each page that is read.
  blobstore+: { contentAddressableStorage: { readCaching: {
    slow: common.blobstore.contentAddressableStorage,
    fast: { 'local': {
      keyLocationMapOnBlockDevice: { file: {
        path: '/worker/cas/key_location_map',
        sizeBytes: 64 * 1024 * 1024,
      } },
      keyLocationMapMaximumGetAttempts: 16,
      keyLocationMapMaximumPutAttempts: 64,
      oldBlocks: 8,
      currentBlocks: 24,
      newBlocks: 3,
      blocksOnBlockDevice: {
        source: { file: { path: '/worker/cas/blocks', sizeBytes: 16 * 1024 * 1024 * 1024 } },
        spareBlocks: 3,
      },
    } },
    replicator: { deduplicating: { 'local': {} } },
  } } },
}
