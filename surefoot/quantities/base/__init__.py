"""What every quantity is made of, and the seam between quantities and how things are known.

A quantity knows what it means; ``certify`` knows how things are proved, searched for and measured.
They meet in the protocols ``Prover``, ``Searcher`` and ``MeasuredFile``, so that a quantity imports
nothing of ``certify``, and the runtime, which reads budgets, need not either.
"""
