"""Every interleaving of a scenario: which runs deadlock, which states have no way out.

    scene.py          a scene: tasks on a mounted filesystem, and what may come at any moment
    scenes/           ours, by name
    run.py            one run of a scene, step by step        stuck.py        how a run ends in which some sleep on
    schedule.py       a run as a short string                 drawing.py      a run as a diagram
    depth_first.py    all runs; fingerprint.py: what was seen; graph.py, found.py, report.py: what came of it
    rewind.py         a mount put back to what it was, so that set-up is made once
    search.py         `explore`; workers.py: by several processes; ways_out.py: what ends everything

and of somebody's own filesystem:

    interleavings.py  `interleavings`, and `check_interleavings` for tests
    given.py          what is given to them, checked
    own_filesystem.py the scene of it                         own_daemon.py   what its daemon runs on
                                                              event_loop.py   asyncio, as one task of a scene
"""

from __future__ import annotations

from fusewire.explore.interleavings import Interleavings, check_interleavings, interleavings

__all__ = ["Interleavings", "check_interleavings", "interleavings"]
