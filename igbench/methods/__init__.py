"""Named explainers: one file each."""
