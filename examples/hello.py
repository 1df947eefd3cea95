"""Hello: a tree that is a dict, with two files that are computed when they are read.

Mount it, either way:

    fusewire mount examples/hello.py:root /mnt/x
    python examples/hello.py /mnt/x

and try, elsewhere:

    ls -lR /mnt/x
    cat /mnt/x/hello /mnt/x/now
    cat /mnt/x/docs/whoami          # who asks, as the kernel says it

Ctrl-C unmounts.
"""

import sys
import time

import fusewire


class Now(fusewire.File):
    """The time, whenever it is read. Its size is not known beforehand, so none is given."""

    def read(self, offset: int, size: int) -> bytes:
        return f"{time.ctime()}\n".encode()[offset : offset + size]


class WhoAmI(fusewire.File):
    """Tells the caller what the kernel told us about him."""

    def read(self, offset: int, size: int) -> bytes:
        caller = fusewire.current_request()
        return f"uid {caller.uid}, gid {caller.gid}\n".encode()[offset : offset + size]


root = {
    "hello": b"hello, world\n",
    "now": Now(),
    "docs": {"readme": b"A dict is a directory, bytes are a file.\n", "whoami": WhoAmI()},
}

if __name__ == "__main__":
    fusewire.run(root, sys.argv[1])
