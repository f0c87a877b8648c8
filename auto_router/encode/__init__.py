"""Stage 2: prompts and images to vectors, by one seam that training and routing share."""
