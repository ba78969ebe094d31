"""The commands, a file each: they turn options into requests, act, and hand reports to a room."""
