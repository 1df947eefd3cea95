"""What FUSE does: one function for each thing that the VFS may want of a filesystem (`fuse_...`).

Each knows what is sent to the daemon and what its reply changes in the objects of `vfs`. The locks
are the caller's: a system call takes them before it comes here.

Source: fs/fuse/dir.c, file.c, readdir.c, xattr.c, acl.c, ioctl.c.
"""
