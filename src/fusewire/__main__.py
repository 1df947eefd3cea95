"""`python -m fusewire` is the command `fusewire`."""

import sys

from fusewire.cli import main

if __name__ == "__main__":
    sys.exit(main())
