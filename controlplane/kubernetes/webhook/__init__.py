"""The validating admission webhook: what is invalid is refused when it is applied.

`review` answers (pure), `app` serves, `certificates` makes and chooses what it is served with
(pure), `upkeep` keeps that in the cluster.
"""
