#!/usr/bin/env bash
# Serve the router with NeMo Agent Toolkit on loopback:  scripts/run_local.sh [CONFIG] [options of nat serve]
# The environment is made by:  make setup-nat
set -euo pipefail
cd "$(dirname "$0")/.."
config=configs/config.yml
case "${1:-}" in "" | -*) ;; *) config=$1; shift ;; esac
environment=${AUTO_ROUTER_VENV:-.venv-nat}
if [ ! -x "$environment/bin/nat" ]; then
  echo "error: NeMo Agent Toolkit is not installed in $environment; run: make setup-nat" >&2
  exit 2
fi
export NAT_TELEMETRY_ENABLED=${NAT_TELEMETRY_ENABLED:-0} ORT_DISABLE_TELEMETRY=1
exec "$environment/bin/nat" serve --config_file "$config" "$@"
