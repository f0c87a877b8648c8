"""What a router is worth: measures of each model's probabilities and of the decisions made from them."""
