"""What Envoy is told: declared objects and verdicts to serialised resources. Pure and memoised.

Unchanged content comes out as the *same* bytes object, so that the cache of the xDS server sees at
a glance what changed. What changes often (weights) is in EDS alone: a changed cluster is warmed
again by Envoy, a changed listener is drained.
"""

from controlplane.translate.options import TranslateOptions
from controlplane.translate.snapshot import Translator

__all__ = ["TranslateOptions", "Translator"]
