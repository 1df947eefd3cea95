"""The same programs on Linux's own kernel end of FUSE, and on ours: README.md says what for."""
