"""Long work behind the calls: pages of rows, scans of frames, runs of jobs."""
