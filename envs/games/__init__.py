"""Games: against chance, a dealer, an opponent."""
