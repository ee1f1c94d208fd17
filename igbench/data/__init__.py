"""Data factories, one file for each source; each returns an `igbench.core.dataset.Data`."""
