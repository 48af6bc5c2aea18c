"""``python -m kindscene``."""

import sys

from kindscene.cli import main

sys.exit(main())
