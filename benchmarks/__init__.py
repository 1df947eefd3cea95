"""How fast a mount is, measured beside the same filesystem on other libraries."""
