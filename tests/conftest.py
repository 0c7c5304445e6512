"""Makes this folder importable, so that rooms share the fakes beside this file.

Property tests have no time limit: how long an example takes is the machine's affair.
"""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
