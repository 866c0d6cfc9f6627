#!/bin/sh
# Five real tasks, learned with lori and with sequential-lora. Needs LORI_CL_DATA and takes a while; called again,
# it goes on where it was stopped. Called in the repository, it is what the committed registry.db holds.
set -eu
here=$(dirname "$0")
root="$here/../.."
export LORI_CL_WORKSPACE="${LORI_CL_WORKSPACE:-$root}"

lori-cl init
lori-cl add-task "$root"/tasks/cl_bench/*.yaml
lori-cl run "$here/curriculum.yaml" --name real-text-lori "$@"
lori-cl run "$here/curriculum.yaml" --name real-text-sequential-lora --set method=sequential-lora "$@"
lori-cl report real-text-lori real-text-sequential-lora
