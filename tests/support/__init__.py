"""What tests of several folders build their cases from: policies, certificates, environments.

Whatever is imported from here is a function or a class; a value that costs something to make, or
that pytest must clean up, is a fixture in the ``conftest.py`` of the tests that use it.
"""
