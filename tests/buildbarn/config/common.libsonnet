// SPDX-License-Identifier: Apache-2.0

// Everything is below one directory, whose path is in the environment.
local area = std.extVar('AREA');

{
  area: area,
  socket(name):: area + '/' + name + '.sock',
  address(name):: { address: 'unix://' + $.socket(name) },
  server(name):: {
    listenPaths: [$.socket(name)],
    authenticationPolicy: { allow: {} },
  },
  // A block must hold the largest file, and all blocks together all input roots.
  largestFile: 256 * 1024 * 1024,
  inMemory(blockSize):: { 'local': {
    keyLocationMapInMemory: { entries: 1024 * 1024 },
    keyLocationMapMaximumGetAttempts: 16,
    keyLocationMapMaximumPutAttempts: 64,
    oldBlocks: 1,
    currentBlocks: 6,
    newBlocks: 1,
    blocksInMemory: { blockSizeBytes: blockSize },
  } },
  messageSize: 4 * 1024 * 1024,
  storage: {
    contentAddressableStorage: { grpc: { client: $.address('storage') } },
    actionCache: { grpc: { client: $.address('storage') } },
  },
  // The programs run as different users, who must have access to each other's files and sockets.
  global: { setUmask: { umask: 0 } },
}
