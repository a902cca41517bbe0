"""What outlives the process: the last good state, and the kill switch.

Serving never depends on it. A store that is broken, full, locked or hanging costs a warning and a
counter; what is in force stays in force, and Envoy keeps serving whatever happens here.

- `SqlStateStore`  the last good state of each service, in SQLite or by another SQLAlchemy URL
- `Spool`          a store in front of it that never makes the loop wait for one that hangs
- `DeclaredFile`   what was declared, for a start while the API of Kubernetes is gone
- `NameFile`       what names resolved to, for a restart while no name server answers
- `DecisionLog`    what was decided and what came of it, to learn from; bounded `Segments` of it
- `KillSwitch`     a file that stops all changes, for one service or for all; needs no database
"""

from controlplane.store.decisions import DecisionLog
from controlplane.store.declared import DeclaredFile, StateKeys
from controlplane.store.names import NameFile
from controlplane.store.segments import Segments
from controlplane.store.spool import Spool
from controlplane.store.sql import SqlStateStore
from controlplane.store.switch import ALL, KillSwitch, Switched

__all__ = [
    "ALL",
    "DecisionLog",
    "DeclaredFile",
    "KillSwitch",
    "NameFile",
    "Segments",
    "Spool",
    "SqlStateStore",
    "StateKeys",
    "Switched",
]
