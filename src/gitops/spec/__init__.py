"""Pure: what the user wrote, and what is wrong with it."""
