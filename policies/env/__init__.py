"""One service as an environment to learn in: the stages of serving over the simulator."""
