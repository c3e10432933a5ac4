"""Small changes of the core that its tests have to notice.

mutations  what is changed, and how a change is called (pure: a tree in, mutants out)
core       which modules there are, and which tests answer for each
running    one mutant in one forked process (the only place that knows pytest)
accepted   the survivors that behave as the core does, and why
__main__   ./dev mutants: a table, the survivors
"""
