"""Heavy loads and a conformance suite for mounted filesystems; each command runs on its own."""
