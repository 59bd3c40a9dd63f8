"""What a policy is worth: reachability, the chain that it makes, v, q, occupancy."""
