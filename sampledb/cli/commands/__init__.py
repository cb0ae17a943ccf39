"""The commands and how their answers look, a module for each subject."""
