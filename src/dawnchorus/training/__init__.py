"""Learning: families of networks with their front ends inside, one trainer, and bundles at the end."""
