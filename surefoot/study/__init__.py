"""What a run or a grid of runs showed.

* ``run_report``: the page of one run (``run_summary``, ``figures``, ``page``).
* ``grid``: arms, seeds and claims; ``cells``: an arm on a seed, known by its digest.
* ``store``: the cells that are done (``cell_record``).
* ``results``: chosen levels and verdicts (``metrics``, ``contrasts``).
* ``study_pages`` and ``study_figures``: the same as tables and pictures.
"""
