"""What Weir says of itself: log lines, metrics of the loop, traces of a tick."""
