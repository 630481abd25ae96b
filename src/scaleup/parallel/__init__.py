"""How ranks share one training run: a module per technique, a readable function used from outside.

`ring` and `tree` add up a tensor over ranks by hand. May import the model, what measures, and below.
"""
