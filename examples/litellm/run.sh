#!/usr/bin/env bash
# Serve a LiteLLM proxy with the router on loopback:  examples/litellm/run.sh [CONFIG] [options of litellm]
# The environment is made by:  make setup-litellm
set -euo pipefail
cd "$(dirname "$0")/../.."
config=examples/litellm/config.yaml
case "${1:-}" in "" | -*) ;; *) config=$1; shift ;; esac
environment=${AUTO_ROUTER_VENV:-.venv-litellm}
if [ ! -x "$environment/bin/litellm" ]; then
  echo "error: the LiteLLM proxy is not installed in $environment; run: make setup-litellm" >&2
  exit 2
fi
if [ -z "${LITELLM_MASTER_KEY:-}" ]; then
  echo "error: LITELLM_MASTER_KEY is not set; without a key everybody may ask: export one that begins with sk-" >&2
  exit 2
fi
# Nothing is fetched at the start: price lists, headers and presets come with the package.
export LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS=True LITELLM_LOCAL_AUTOROUTER_PRESETS=True
export LITELLM_LOCAL_BLOG_POSTS=True LITELLM_LOCAL_POLICY_TEMPLATES=True LITELLM_TELEMETRY=False
export ORT_DISABLE_TELEMETRY=1
# Less than the 5 s after which uvicorn, and so most local model servers, close an idle connection: a request that is on its way
# in that moment would fail, and with it the last model of a ranking.
export AIOHTTP_KEEPALIVE_TIMEOUT=${AIOHTTP_KEEPALIVE_TIMEOUT:-4}
exec "$environment/bin/litellm" --config "$config" --host 127.0.0.1 --port 4000 --telemetry False "$@"
