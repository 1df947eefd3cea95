"""What a process may ask of the kernel: the system calls, by the names that `os` has for them.

A system call walks the path, takes the locks in Linux's order and hands over to `operations`.
"""
