"""Several replicas that serve the same: one decides, the others follow it.

All of them serve Envoys. A `leadership.Leadership` (a Lease of Kubernetes today) says which of them
decides, and where it is reached. One stream of gRPC goes there from each of the others:

- down come what is in force for each service, with what deciding goes on from (`states`), so that
  the same declared state gives the same versions everywhere and any of them can take over;
- up go what Envoys report, as it came, and where they stand with what they should run (`roll`), so
  that one replica observes and speaks for all of the fleet.

`server` is the one end and `follower` the other, `replicas` both as one part of a process. Messages
carry the epoch of the one that decides: of an earlier one nothing is taken any more.
"""
