#!/bin/sh
# Base and aligned model through VLMEvalKit, in an environment of its own, and then compared item by item.
#
#   configs/recipes/vlmevalkit.sh RUN_DIR BASE CLASS DATA OUT_DIR
#   configs/recipes/vlmevalkit.sh runs/silkie Qwen/Qwen2.5-VL-7B-Instruct Qwen2VLChat ImageMCQDataset:MMStar runs/wide
#
# RUN_DIR   a run folder with a trained checkpoint (or the checkpoint)
# BASE      what it was trained from: a folder or a name of the hub
# CLASS     VLMEvalKit's class of the family (in vlmeval/config.py)
# DATA      its data sets as CLASS:NAME, several in quotes: "ImageMCQDataset:MMStar MathVista:MathVista_MINI"
# OUT_DIR   what is made: merged/, base/, aligned/
#
# ARGS        more arguments of the class as JSON members, the same for both: "min_pixels": 200704, "use_custom_prompt": false
# JUDGE       --judge; default exact_matching, which asks nobody
# VLMEVALKIT  a clone of github.com/open-compass/VLMEvalKit; default build/VLMEvalKit, cloned where it is missing
set -eu
[ $# -eq 5 ] || { sed -n '2,17s/^# \{0,1\}//p' "$0" >&2; exit 2; }
run=$1 base=$2 class=$3 data=$4 out=$5
kit=${VLMEVALKIT:-build/VLMEvalKit}
[ -d "$kit" ] || git clone --quiet https://github.com/open-compass/VLMEvalKit "$kit"
if [ ! -x "$kit/.venv/bin/python" ]; then
    python3 -m venv "$kit/.venv"
    "$kit/.venv/bin/python" -m pip install --quiet --editable "$kit"
fi
[ -d "$out/merged" ] || vlfeedback export merged "$run" --out "$out/merged"
mkdir -p "$out"
out=$(cd "$out" && pwd)
[ -d "$base" ] && base=$(cd "$base" && pwd)
sets=$(for one in $data; do
    printf '"%s": {"class": "%s", "dataset": "%s"}, ' "${one#*:}" "${one%%:*}" "${one#*:}"
done | sed 's/, $//')
ask() { # side, weights: the same class, arguments and prompts for both
    printf '{"model": {"%s": {"class": "%s", "model_path": "%s"%s}}, "data": {%s}}\n' \
        "$1" "$class" "$2" "${ARGS:+, $ARGS}" "$sets" >"$out/$1.json"
    (cd "$kit" && .venv/bin/python run.py --config "$out/$1.json" --work-dir "$out" --mode all \
        --judge "${JUDGE:-exact_matching}")
}
ask base "$base"
ask aligned "$out/merged"
vlfeedback compare "$out/base" "$out/aligned"
