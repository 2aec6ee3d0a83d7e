"""Pure: what is desired against what was observed."""
