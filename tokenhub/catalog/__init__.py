"""What can be called: providers, regions, models, offerings and prices, as data."""
