"""From a path to what it leads to: between the system calls, which are given paths, and the operations.

    resolve.py      what system calls ask of a path: what it leads to, or the directory of its last name
    walk.py         one name after the other, symlinks, `..`, mounts
    open_flags.py   what open(2) was told          open_path.py    finding the file, or making it
    open_found.py   opening what was found

Source: fs/namei.c, fs/open.c.
"""
