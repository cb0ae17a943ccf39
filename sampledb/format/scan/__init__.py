"""Look through the instructions of frames for functions that meet conditions."""
