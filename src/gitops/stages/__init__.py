"""What happens to a model before it is released: digests, builds and the gates that validate it."""
