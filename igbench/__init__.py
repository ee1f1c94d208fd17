"""How complete, faithful, stable and costly is Integrated Gradients on this model?"""

__version__ = "0.1.0"
