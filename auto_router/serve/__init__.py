"""The router inside other people's servers: NeMo Agent Toolkit and the LiteLLM proxy."""
