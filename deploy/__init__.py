"""What brings Weir to where it runs."""
