"""Model factories, one file for each family; each returns an `igbench.core.model.Model`."""
