"""Stage 3: learn P(model i answers correctly) from embeddings and labels."""
