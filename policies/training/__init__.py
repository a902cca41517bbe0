"""Training, evaluation and export. Only this package imports torch and Stable-Baselines3."""
