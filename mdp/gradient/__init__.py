"""How J moves with preferences: the theorem, and the exact moments of REINFORCE."""
