"""Pure: plans, boards and histories as text, Markdown and JSON."""
