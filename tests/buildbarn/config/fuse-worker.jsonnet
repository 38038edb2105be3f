// SPDX-License-Identifier: Apache-2.0

local common = import 'common.libsonnet';

(import 'worker.libsonnet')('fuse', {
  virtual: {
    maximumExecutionTimeoutCompensation: '60s',
    maximumWritableFileUploadDelay: '10s',
    mount: {
      mountPath: common.area + '/fuse/build',
      fuse: {
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
    slow: common.storage.contentAddressableStorage,
    fast: common.inMemory(common.largestFile),
    replicator: { deduplicating: { 'local': {} } },
  } } },
}
