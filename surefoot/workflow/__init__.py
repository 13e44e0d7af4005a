"""What each verb does, from folders to folders: the Python API, which the command line calls, too.

* ``training``: a policy into a run folder; ``whole_run``: that and everything after it.
* ``adopting``: a controller that others made into a run folder; ``inspecting``: what one is.
* ``compressing``: a finished policy into a smaller one (``source`` reads it).
* ``certifying``: a controller held against a budget; ``evidence_files``: what that may rest on.
* ``exporting``: a certified policy into a bundle; ``verifying``: a bundle, all of it.
* ``attacking`` and ``benchmarking``: what a bundle does and how long that takes (``opening``).
* ``studying``: the cells of a grid side by side (``study_plan``: what that costs;
  ``cell_workers``, ``cell_process``, ``cell_work``: who makes them, and how).
* ``key_making``: keys to sign with; ``reporting``: one page about a run.
* ``configuration``: the tables of a configuration as what the stages take.
* ``listener``: who is told of progress and remarks; nobody, if nothing is said.

Every function takes paths and typed configurations, writes whole files or none, and returns what it
wrote as a typed value.
"""
