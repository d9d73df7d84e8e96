"""`python -m ebmlearn`: the same as the command `ebmlearn`."""

import sys

from .cli import main

sys.exit(main())
