"""Stage 2: prompts and pictures to vectors, by one seam that training and routing share."""
