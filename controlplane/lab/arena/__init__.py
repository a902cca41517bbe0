"""The arena: ways to balance, played against one another on real Envoys (docs/arena.md).

`suite` says what is played, `contestants` by whom, `draw` who plays beside whom; `heat` plays it,
`tally` says what came of it, and `table`, `page` and `plots` show that. `bench` is the verb.
"""
