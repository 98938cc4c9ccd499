"""For tests of programs that use Longboat and of broker adapters: the conformance suite, and a clock to set. Public.

It imports errors, core and contract, nothing else of Longboat, and no other room imports it.
"""
