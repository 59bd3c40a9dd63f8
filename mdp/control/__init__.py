"""What the best policy is worth: solvers, sweeps, linear programming, proven bounds."""
