"""What people declare: Gateway API kinds and Weir's own, read from YAML, checked, made values.

One pydantic model for each kind is the definition of its fields, defaults, bounds and words;
loading, messages and the reference (docs/reference/resources.md) all come from it. `load` is pure;
only `folder` and `watch` touch the disk.
"""

from controlplane.resources.declared import Declared, ObjectKey, Source
from controlplane.resources.load import Loaded, load
from controlplane.resources.problems import Problem
from controlplane.resources.services import Services, services
from controlplane.resources.validate import validate_folder
from controlplane.resources.watch import watch_folder

__all__ = [
    "Declared",
    "Loaded",
    "ObjectKey",
    "Problem",
    "Services",
    "Source",
    "load",
    "services",
    "validate_folder",
    "watch_folder",
]
