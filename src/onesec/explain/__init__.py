"""Reads traces and tells what they say; it never steers."""
