"""What Linux keeps above any filesystem: names, inodes, open files, pages, who somebody is.

    dentry.py inode.py attr.py        names; what they lead to; attributes as such
    open_file.py iocb.py polling.py   a file as somebody has opened it; one write by it; who waits for it
    page_cache.py writeback.py        its pages; what the daemon has yet to be told of them;
    readahead.py                      how it is read
    address_space.py                  the memory of a process, and the pages mapped there
    directory_cache.py acl_cache.py   what is remembered of a directory's contents, and of ACLs
    file_locks.py                     locks that the daemon does not want to keep
    credentials.py changes.py         who somebody is; what chmod and its kin may change
    superblock.py system.py caller.py a mount; a computer; a process without its system calls

Objects only: nothing here asks the daemon. What a system call does with them stands in `syscalls`, what
FUSE does for them in `operations`.
"""
