"""nnU-Net in this process: arrays of a copick project in, checkpoints of ours out.

No NIfTI, no commands that are shelled out to, nothing left in the environment, the home or another package.
"""
