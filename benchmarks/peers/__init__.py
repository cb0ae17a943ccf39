"""Other ways to keep the same reports. MCRIT runs in an environment of its own, so nothing is imported here."""
