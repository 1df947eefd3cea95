"""Pictures made from events: what happened at either end of the wire, side by side.

    recording.py          what happened, in order, and who did it: what every picture is made from
    state.py held.py      what everything was like between two steps
    columns.py            which step stands in which column, in which words
    text.py               in the form of kernel.txt
    as_json.py page.py    for programs; and for a browser, to step through

They know events, and nothing of who makes them: a recording may come from the embedded kernel, or
from a real one. Only state.py and held.py look into the kernel's end.
"""
