"""What FUSE does: one function for each thing that the VFS may want of a filesystem (`fuse_...`).

    names         lookup.py entries.py names.py creation.py directory.py direntplus.py
    attributes    attributes.py setattr.py changing.py times.py privileges.py statfs.py
    permissions   permission.py acl.py
    xattrs        xattr.py capabilities.py
    open files    opening.py io_mode.py closing.py releasing.py
    contents      read_write.py, which parts into reading.py readahead.py, writing.py, cached_write.py
                  and direct_io.py direct_requests.py
    page cache    pages.py write_pages.py writeback.py page_faults.py mapping.py
    the rest      space.py copying.py syncing.py file_locking.py lock_owner.py ioctl.py poll.py

Each knows what is sent to the daemon and what its reply changes in the objects of `vfs`. The locks
are the caller's, unless it says otherwise: a system call takes them before it comes here.

Source: fs/fuse/dir.c, file.c, readdir.c, xattr.c, acl.c, ioctl.c.
"""
