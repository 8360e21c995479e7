"""The command line: ``python -m funpipe``."""

from __future__ import annotations

import sys

from funpipe.faces.command_line import main

if __name__ == "__main__":
    sys.exit(main())
