"""Makes this folder importable, so that rooms share the fakes beside this file."""
