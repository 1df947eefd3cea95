"""What FUSE does, shown by doing it: each explanation is a run of both ends in this process, drawn.

    explanation.py   what an explanation is, and what may be asked of it
    director.py      who sets a scene up, says who goes on when, and has it recorded
    seed/            kernel.txt: its three diagrams, the cures, and the copy that must not be interrupted
    operations/      every operation of FUSE
    catalogue.py     all of them by name, played and drawn
    real/            the two deadlocks on the kernel that runs here

Nothing is drawn beforehand: a diagram is what happened (diagrams/). Scenes are those that are explored,
too (explore/).
"""
