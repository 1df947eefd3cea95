"""The daemon's side of the comparison: what becomes of one that answers nonsense. ../nonsense.py says how."""
