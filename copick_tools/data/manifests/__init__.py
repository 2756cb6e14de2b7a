"""Croissant manifests: what they list, how they are built, brought into place and checked."""
