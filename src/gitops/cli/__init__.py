"""Parse the command line, call the engine, print, and choose the exit code."""
