"Other people's models, judged without this library's own algorithms: see `benchmarks/models.py`."
