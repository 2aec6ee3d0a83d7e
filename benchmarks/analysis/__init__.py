"""Simulated rollouts: how often our rule and the peers' roll back wrongly, and how soon they find a fault."""
