"""Other libraries' interfaces over ours, one file each, each behind its extra."""
