"""Results to and from the formats that others read.

| module | format |
|---|---|
| `lm_eval_export`, `lm_eval_files`, `lm_eval_import` | lm-eval's results JSON and samples JSONL, out and in |
| `every_eval_ever` | the EvalEval Coalition's shared schema, out |
| `datasets_files` | Parquet, JSONL or a data set folder for `datasets.load_dataset`, out |
| `model_index` | the `model-index` of a Hugging Face model card, out |
| `source` | what every export starts from: an evaluation by language, and what its model and data are called |
"""
