"""What Linux keeps above any filesystem: names, inodes, open files, pages, processes.

Objects only. What a system call does with them stands in `syscalls`, what FUSE does for them in
`operations`.
"""
