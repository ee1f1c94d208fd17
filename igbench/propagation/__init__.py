"""Explain by rules for the backward pass: DeepLIFT, guided backprop, deconvolution, LRP.

One mechanism serves all of them.  While the model runs, a mode of torch sees every operation,
whether a module or a function calls it, and gives some of them another backward
(`igbench.propagation.mode`): activations, convolutions, linear layers, pools, and products of two
activations.  Nothing is left on the model.  An operation without a rule is never passed over in
silence: the sum of a DeepLIFT map is checked, and for the other rules the graph is
(`igbench.propagation.graph`).
"""
