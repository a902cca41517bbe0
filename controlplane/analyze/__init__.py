"""What is valid and still unwise: one small pure function for each thing, in one list.

An analyzer looks at what is declared and yields findings with a stable code. A new one is a
function in a module here, and a line in `analyzers.ANALYZERS`.
"""

from controlplane.analyze.analyzers import analyze
from controlplane.analyze.findings import Finding, Scene, Severity

__all__ = ["Finding", "Scene", "Severity", "analyze"]
