"""Look-ups over several tables: functions by address and conditions, and all things by text."""
