"""The resolver of each agent. It answers for granted names only, and opens an address before it names it.

`wire` reads and writes messages, `decide` judges a question, `chain` follows an answer, `limits` caps what a tunnel
would need, `resolver` puts these together; `upstream` and `server` are the edges.
"""
