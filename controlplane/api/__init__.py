"""The admin address: health, metrics, what was decided and why, the kill switch. FastAPI only."""
