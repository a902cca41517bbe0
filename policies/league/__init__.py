"""The league: every released policy and every baseline on cases that no training saw.

Read in this order: `suite` (the cases), `players` (who plays), `match` (how a case is played),
`tournament` (all of them, on all cores, going on where it stopped), `intervals` (how sure a ratio
is), `results` (the ratios), `targets` (the verdicts), `document` (all of it as one document); then,
without anything that plays, `written` and how it is shown: `tables`, `picture`, `page`, `cli`.
"""
