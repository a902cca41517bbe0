"""Learning: simulator, environment, agents, training, and the released policies."""
