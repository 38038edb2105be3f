// SPDX-License-Identifier: Apache-2.0

// All is below one directory, whose path is in the environment.
local area = std.extVar('AREA');

{
  area: area,
  socket(name):: area + '/' + name + '.sock',
  address(name):: { address: 'unix://' + $.socket(name) },
  server(name):: {
    listenPaths: [$.socket(name)],
    authenticationPolicy: { allow: {} },
  },
  // A block is as large as the largest file may be, and together they hold all input roots.
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
  // All are different users: what one makes, a socket too, the others must get at.
  global: { setUmask: { umask: 0 } },
}
