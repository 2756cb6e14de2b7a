"""Image encoders of Segment Anything: how their weights are named, stored and fitted to another grid."""
