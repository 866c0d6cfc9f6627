#!/bin/sh
# Train five real tasks with lori and with sequential-lora. Needs LORI_CL_DATA and takes a while; run it again to
# resume. By default, the workspace is the repository, whose registry.db holds these runs.
set -eu
here=$(dirname "$0")
root="$here/../.."
export LORI_CL_WORKSPACE="${LORI_CL_WORKSPACE:-$root}"

lori-cl init
lori-cl add-task "$root"/tasks/cl_bench/*.yaml
# The recorded run calibrates its masks for as long as it trains; the default is a tenth.
lori-cl run "$here/curriculum.yaml" --name real-text-lori --set masks.calibration.fraction=1 "$@"
lori-cl run "$here/curriculum.yaml" --name real-text-sequential-lora --set method=sequential-lora "$@"
lori-cl report real-text-lori real-text-sequential-lora
