"""Makes this folder importable, so that rooms share the fakes beside this file.

Property tests have no time limit: how long an example takes is the machine's affair. Where CI is
set they take the same examples each time, so that a change is judged and not its luck; elsewhere
they look for new ones.
"""

import os

from hypothesis import settings

settings.register_profile("untimed", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("untimed")
