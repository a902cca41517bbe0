"""The parts of docker-compose.yml, and a rehearsal of it where there is no container engine."""
