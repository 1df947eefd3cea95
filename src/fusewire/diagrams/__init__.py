"""Pictures made from events: what happened at either end of the wire, side by side.

text.py draws a run in the two columns of kernel.txt; explain.py has runs worth drawing.
"""
