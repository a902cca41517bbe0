"""Where endpoints come from: addresses as they are declared, names as DNS resolves them.

`Discovery` is the `EndpointSource` of the ports: the application declares to it what the documents
say, and follows the complete sets of endpoints that come out. A set is never empty by accident: it
is empty only where the document says so, and a service of which nothing is known is not in it.
"""

from controlplane.discovery.dns import SystemResolver
from controlplane.discovery.names import NameSettings, Resolve
from controlplane.discovery.watch import Discovery

__all__ = ["Discovery", "NameSettings", "Resolve", "SystemResolver"]
