"""``python -m enginepod``."""

import sys

from enginepod.cli import main

sys.exit(main())
