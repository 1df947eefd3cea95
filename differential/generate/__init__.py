"""Programs by chance, the same for the same seed.

A program that tries anything anywhere is refused nearly always, and tests little beyond the
refusals. So the generator remembers roughly what its steps have made: names, their kinds, filled
slots. It believes that all succeed, which is often wrong; that does no harm, for an error is as good
a result as another. Most steps then do something likely to work, some do not.

Every other program is made of some of the calls only, and many of few names, for then they meet more
often.

In some programs processes wait for each other (`Waiting`): a request is held back, and what others do
meanwhile shows which locks its caller has; then a signal may come, or SIGKILL, and at last it is let go.
Locks are waited for in these alone, and poll(2).

What it leaves out is what Linux's answer to depends on the machine.

    belief.py       what is believed of the program so far
    names.py attributes.py files.py content.py     what each call is given
    table.py        how often each call is made
    waiting.py      when requests are held back, and let go
    programs.py     all of it, step by step
"""

from __future__ import annotations

from differential.generate.content import GETFLAGS
from differential.generate.programs import STEPS, generate
from differential.generate.table import MAKERS

__all__ = ["GETFLAGS", "MAKERS", "STEPS", "generate"]
