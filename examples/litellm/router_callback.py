"""The router as a callback of the LiteLLM proxy; ``config.yaml`` beside this file names it.

Settings are those of ``auto_router.decide.policy.RouterSettings``; what is left out comes from the environment
(``AUTO_ROUTER_PATH``, ``AUTO_ROUTER_FALLBACK_MODEL``, …), else is the default.
"""

from auto_router.serve.litellm_hook import RouterHook

router = RouterHook(
    # model_thresholds={"qwen2.5-coder-1.5b": 0.5, "smollm2-135m": 0.6},
    # model_costs={"qwen2.5-coder-1.5b": 1.0, "smollm2-135m": 0.1},
    # fallback_model="qwen2.5-coder-1.5b",
)
