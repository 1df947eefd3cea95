"""What is always true: rules that no run may break, each with its number.

    connection.py    the lists, stages and counters of a connection; `check` looks at all of the state
    mount.py         names, inodes, open files, pages
    accounts.py      that what is owed to the daemon is what the daemon was told
    transcript.py    what passed the device, be it ours or Linux's own: conversation.py knows what has been
                     said, transcript_accounts.py counts in it

They look at everything and nobody in kernel/ knows of them: tests, the explorer and the fuzzer ask.
A rule that is broken is an AssertionError that begins with its number (rules.py).
"""
