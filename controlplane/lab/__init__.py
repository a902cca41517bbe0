"""Real Envoys, real backends and real requests on one machine: the demo and its parts."""
