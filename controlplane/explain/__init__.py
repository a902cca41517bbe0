"""Which route takes a request, and why: from what is declared, not from what Envoy is sent.

So it is a second way to the same answer, and a test drives requests through both. Pure functions.
"""

from controlplane.explain.explanation import Explanation, Near, explain_route
from controlplane.explain.fate import Fate
from controlplane.explain.request import Request

__all__ = ["Explanation", "Fate", "Near", "Request", "explain_route"]
