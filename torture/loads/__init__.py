"""The loads that `run.py` puts on a mount, by subject.

A load is a function of a `Place`. It returns when all was well, with a few words to be
printed or nothing; else it raises `Failed`. What it needs and does not find raises `Skipped`.
"""
