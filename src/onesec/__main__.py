"""`python -m onesec` is the `onesec` command."""

import sys

from onesec.cli.main import main

sys.exit(main())
