"""Algorithms that learn to balance, each made by `registry` from its settings in a recipe.

All of them give the same in the end: a module from a table of features to where to move each
group, which `policies.training` checks, exports and releases. What Stable-Baselines3 and
sb3-contrib have is theirs; here are the network, which all share, and what they do not have.
"""
