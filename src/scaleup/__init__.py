"""What lessons share, in folders by subject. CONTRIBUTING.md draws the tree and says who may import whom."""
