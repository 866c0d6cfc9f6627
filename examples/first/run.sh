#!/bin/sh
# The main job, from sentences to report. Options are handed to `lori-cl run`, such as --set train.epochs=1.
set -eu
here=$(dirname "$0")
export LORI_CL_WORKSPACE="${LORI_CL_WORKSPACE:-$here/workspace}"

python "$here/make_data.py"
lori-cl init
lori-cl add-task "$here/mood.yaml" "$here/topic.yaml"
lori-cl run "$here/curriculum.yaml" --name lori "$@"
lori-cl run "$here/curriculum.yaml" --name sequential-lora --set method=sequential-lora "$@"
lori-cl report lori sequential-lora
lori-cl report lori sequential-lora -o "$LORI_CL_WORKSPACE/report.html"
