"""Files elsewhere: list them, and bring them here whole."""
