"""What passes between the stages: records and their files, embeddings, images, conversations, the pool."""
