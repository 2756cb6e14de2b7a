"""Organelles with their instances: vesicles that touch, mitochondria, networks of endoplasmic reticulum, bacteria.

``simulate_organelles`` goes through one file per step: shapes and ground, the four kinds, arrangement, scene; then the
phantom's projector, optics and reconstruction. ``settings`` holds every number of the sample.
"""

from copick_tools.simulate.organelles.settings import ORGANELLE_PRESETS, OrganelleSettings
from copick_tools.simulate.organelles.simulation import Organelles, simulate_organelles

__all__ = ["ORGANELLE_PRESETS", "OrganelleSettings", "Organelles", "simulate_organelles"]
