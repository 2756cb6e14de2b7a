"""Metrics on arrays: no paths, no projects, no logging."""
