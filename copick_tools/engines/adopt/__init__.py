"""Models that other tools trained, as checkpoints of ours."""
