import sys

print("crasher: about to end with 3", flush=True)
sys.exit(3)
