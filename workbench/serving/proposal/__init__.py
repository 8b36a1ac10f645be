"""What stands between a proposal and its publication: checks that run, what changes in values, what
it costs, and the page for it.
"""
