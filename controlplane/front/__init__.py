"""Where Envoys are served: in this process, or in several worker processes on the same port.

The rest of the control plane writes to the `SnapshotCache` and asks the `Front` how it goes. Which
of the two it is makes no difference to it:

- `own.OwnFront`: an `XdsServer` in this process. The default.
- `pool.Pool`: `--workers N` processes (`worker`), each with an `XdsServer` of its own on one port
  (SO_REUSEPORT). They are told the differences between snapshots over a pipe, hand on what Envoys
  report, and answer for their streams when somebody asks.
"""
