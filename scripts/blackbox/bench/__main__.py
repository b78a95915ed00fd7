"""Starts what scripts/bench measures with."""

import sys

from blackbox.bench.cli import main

sys.exit(main())
