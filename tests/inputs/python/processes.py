# SPDX-License-Identifier: Apache-2.0

# Several processes that share a lock, a queue and memory, started in the way that is named.

import multiprocessing
import sys
from multiprocessing import shared_memory


def square(queue, lock, name, n):
    shared = shared_memory.SharedMemory(name)
    with lock:
        shared.buf[n] = n * n
    shared.close()
    queue.put(n)


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue, lock = context.Queue(), context.Lock()
    shared = shared_memory.SharedMemory(create=True, size=3)
    processes = [context.Process(target=square, args=(queue, lock, shared.name, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        queue.get()
        process.join()
    print(*shared.buf[:3])
    shared.close()
    shared.unlink()
