"""CryoET machine learning on copick: targets, models, picks, segmentations and honest scores.

The Python API is ``copick_tools.workflows``: one module per verb, the functions that the ``popsicle`` commands call.
"""

__version__ = "0.1.0"
