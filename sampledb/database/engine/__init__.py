"""Work that calls begin and that goes on for longer: pages of rows, scans of frames, runs of jobs."""
