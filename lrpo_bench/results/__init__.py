"""What a run stores, how two evaluations are compared, and the report.

| module | gives |
|---|---|
| `schema` | `Manifest`, `Signature`, `Evaluation`, `Run`: the layout of a run folder, as values |
| `store` | `Store.open(path, config)`: write a run, crash, continue; `read_run(path)` |
| `evaluations` | one evaluation on disk: JSONL while it grows, Parquet when it is whole |
| `files`, `lock`, `environment` | atomic writes and durable appends; one writer a folder; where a run was made |
| `compare`, `decompose` | `compare(before, after)`: paired differences per language, why, which questions |
| `compare_many`, `named` | several runs against the first; an evaluation by its path |
| `summary`, `tables`, `plots`, `words` | the same for a terminal, a paper, a spreadsheet, the eye, and in sentences |
| `matrix`, `latex`, `comparison_json`, `flips` | several runs side by side; LaTeX; JSON; questions won and lost |
| `untrusted` | text of others, made safe for a terminal, Markdown and LaTeX |
| `exchange` | to and from lm-eval, Every Eval Ever, `datasets` and model cards |
| `report`, `report_sections`, `report_browsers`, `html` | `write_report(run)`: all of it as one page |
"""
