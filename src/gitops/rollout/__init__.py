"""Pure: release records and the decisions that change them."""
