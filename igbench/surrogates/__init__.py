"""Pure mathematics of methods that perturb inputs: windows, players, surrogates, masks, regions."""
