"""What learns, and what checks it: softmax policies, losses, REINFORCE, exact gradients, pgcheck. torch and mdp."""
