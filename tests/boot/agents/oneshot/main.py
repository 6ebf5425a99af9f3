print("oneshot: done", flush=True)
