#!/bin/sh
# Train a small chat model on four tasks: lori with a shared A, lori with null-space A's, and a plain LoRA.
# Needs LORI_CL_DATA (for AG News) and the extra smollm. Run it again to resume. By default, the workspace is the
# repository, whose registry.db holds these runs.
set -eu
here=$(dirname "$0")
root="$here/../.."
export LORI_CL_WORKSPACE="${LORI_CL_WORKSPACE:-$root}"

python -m lori_cl.demo.smollm "$here/tasks/data"
cp "$root"/lori_cl/demo/smollm/tasks/*.yaml "$here/tasks"
lori-cl init
lori-cl add-task "$here"/tasks/*.yaml "$here/news.yaml"
lori-cl run "$here/curriculum.yaml" --name real-llm-lori "$@"
lori-cl run "$here/curriculum.yaml" --name real-llm-null-space --set adapter.projection=null-space "$@"
lori-cl run "$here/curriculum.yaml" --name real-llm-sequential-lora --set method=sequential-lora --set 'masks={}' --set train.lr=5.0e-4 "$@"
lori-cl report real-llm-lori real-llm-null-space real-llm-sequential-lora
