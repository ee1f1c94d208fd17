"""Path integrals of gradients: quadrature rules, paths and estimators.  Needs torch alone."""
