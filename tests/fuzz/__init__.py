"""Fuzzing: pure targets over arbitrary bytes, and a runner that lets atheris choose the bytes.

targets   run(data) raises only on a real fault; needs nothing but the project
seeds     what the search begins with: the vectors, and the protocol's words
worker    one target under atheris (the only place that knows atheris)
__main__  ./dev fuzz: all targets, a table, findings
"""
