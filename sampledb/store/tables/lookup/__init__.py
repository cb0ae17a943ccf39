"""Look-ups over several tables: functions by address and by conditions, samples and functions by text."""
