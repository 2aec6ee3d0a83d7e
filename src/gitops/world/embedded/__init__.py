"""The world for a newcomer who has nothing but Python and Git."""
