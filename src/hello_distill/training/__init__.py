"""Networks, losses, the one loop that trains weights, and scores."""
