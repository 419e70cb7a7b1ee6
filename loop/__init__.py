"""What the loop does, without Prefect and without FastAPI: words, rules, edges, work."""
