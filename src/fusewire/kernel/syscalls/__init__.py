"""What a process may ask of the kernel: the system calls, by the names that `os` has for them.

    names         names.py making.py renaming.py
    attributes    attributes.py changing.py xattrs.py xattr_names.py
    open files    files.py directories.py locking.py control.py
    data          data.py vectors.py positions.py space.py copying.py syncing.py
    memory        memory.py mapping.py
    processes     identity.py lifetime.py signals.py mounts.py
    all of them   process.py, made with base.py (how a call begins and returns), targets.py, held.py
                  and again.py (what it is about)

A system call walks the path, takes the locks in Linux's order and hands over to `operations`.
"""
