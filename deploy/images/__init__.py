"""Images: their Dockerfiles, and a rehearsal of them where there is no container engine."""
