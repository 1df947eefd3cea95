"""Look at live mounts: any FUSE mount of this machine, whoever serves it, in whatever language.

    for diagnosis in diagnose():
        print(diagnosis.place, diagnosis.state, diagnosis.certainty, diagnosis.edges)

Nothing that looks touches a mount: all is read from /proc, /sys and tracefs, and what a look needs it
gets without asking any daemon. So it works beside mounts that hang, and on daemons of any kind.

    proc.py syscalls.py      threads as /proc shows them, and what their system calls lead to
    mounts.py                what is mounted where, in all mount namespaces, and what lies below
    connections.py           fusectl, and who holds a device
    touches.py patience.py   which file a call is about; what may hang, done with patience
    look.py                  one look at all of these
    wait_graph.py            who waits for whom, and what follows
    verdict.py scenarios.py  how each connection is, and how that comes about
    diagnose.py cures.py     the same as data, and the command that helps
    words.py                 and in words
    treatment.py surgery.py  what cures it, least harm first: the only two that change anything
    tracefs.py               what passes the kernel's tracepoints, as text and as events
    trace.py requests.py     requests as they pass, put together from these; latencies.py: what they come to
    trace_steps.py trace_export.py   the same as a diagram, and for other programs
    overview.py traffic.py   all connections at a glance, again and again, with what passes through them
    chains.py                who waits for whom, as a tree

Needs neither the kernel's end of this project nor anything outside the standard library.
"""

from __future__ import annotations

from fusewire.watch.diagnose import diagnose
from fusewire.watch.diagnosis import Certainty, Diagnosis, Edge, Server, State
from fusewire.watch.scenarios import Scenario
from fusewire.watch.treatment import cure

__all__ = ["Certainty", "Diagnosis", "Edge", "Scenario", "Server", "State", "cure", "diagnose"]
