#!/bin/sh
# The complete example, from data to report. Options, such as --set train.epochs=1, are passed to `lori-cl run`.
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
