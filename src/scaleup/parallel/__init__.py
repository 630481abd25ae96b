"""How ranks share one training run: a module per technique, applied from outside to the unchanged model.

By hand: `ring`, `tree`, `zero`. Techniques: `sharding`, `tensor_split`, `stages` (`stage_times` watches),
`long_context`, `experts`. `mesh` names axes, `refusals` what cannot be; `pretend` counts for 1,024 ranks.
May import the model, what measures, and below.
"""
