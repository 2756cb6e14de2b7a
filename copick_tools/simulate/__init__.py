"""The phantom simulator: macromolecules in ice, imaged and reconstructed. Arrays in, arrays out.

``simulate_phantom`` goes through one file per step: geometry, densities, placement (scatter, membranes), scene
(canvas), projector, optics, reconstruction. ``settings`` holds every number of the physics.
"""

from copick_tools.simulate.phantom import Phantom, simulate_phantom
from copick_tools.simulate.settings import PRESETS, PhantomSettings

__all__ = ["PRESETS", "Phantom", "PhantomSettings", "simulate_phantom"]
