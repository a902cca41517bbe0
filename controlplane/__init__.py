"""Weir: numbers in from a fleet of Envoys, guarded weights out over xDS. Start at `loop`."""
