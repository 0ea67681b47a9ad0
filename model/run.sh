#!/usr/bin/env bash
# Makes the table again, from the registries to the file: usage: model/run.sh [WORK]
# WORK (default ~/.cache/conexus-model/work) takes some 2 GB. Needs Python 3.11, cargo, npm, apt-get (Debian or Ubuntu) and a C compiler.
# Files that share a quarter of their longer lines with the benchmark's repositories, wherever they come from, are not trained on.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/conexus-model/work}
corpora=${XDG_CACHE_HOME:-$HOME/.cache}/conexus/retrieval
mkdir -p "$work"
[ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
python=$work/venv/bin/python
"$python" -m pip install --quiet --require-hashes --requirement "$here/requirements.txt"

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

"$python" "$here/../bench/retrieval/fetch.py" --to "$corpora"
"$python" "$here/fetch.py" "$work/data"
"$python" "$here/paraphrases.py" "$work/data/tree"
"$python" "$here/pairs.py" "$work/data" --avoid "$corpora"
for seed in 1 2 3 4; do
    "$python" "$here/train.py" "$work/data" "$work/run-$seed" --seed "$seed"
done
"$python" "$here/train.py" --average "$work/out" "$work"/run-[1-4]
"$python" "$here/evaluate.py" --queries "$here/../bench/retrieval/queries.jsonl" --trees "$corpora" "$work/out" "$work/run-1/start"
"$python" "$here/evaluate.py" --held-out "$work/data" "$work/out" "$work/run-1/start"
"$python" "$here/evaluate.py" --queries "$here/paraphrases.jsonl" --trees "$work/data/tree" "$work/out" "$work/run-1/start"
echo "the table is in $work/out: model.safetensors, vocab.txt, hashes.json"
