"""What is measured of the store."""
