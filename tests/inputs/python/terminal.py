# SPDX-License-Identifier: Apache-2.0

# A terminal with a process on it.

import os
import pty

pid, terminal = pty.fork()
if pid == 0:
    with open("/dev/tty", "w") as tty:
        tty.write(os.ttyname(0))
    os._exit(0)
print(os.read(terminal, 100).decode())
os.waitpid(pid, 0)
