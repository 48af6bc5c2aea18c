"""``python -m enginesim``."""

import sys

from enginesim.cli import main

sys.exit(main())
