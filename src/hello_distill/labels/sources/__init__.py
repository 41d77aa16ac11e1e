"""Label sources: what a kind of labels computes with, in torch."""
