print("first: begins", flush=True)
