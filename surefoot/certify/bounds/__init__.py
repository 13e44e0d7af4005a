"""What bounds a network, and nothing else: from weights to numbers that hold.

* The network as matrices: ``chain``; its slopes: ``slopes``.
* Global bounds: ``global_bounds`` in closed form, ``lipsdp`` (search), ``lipsdp_proof`` (proof).
* Local bounds: ``region``, ``relaxation`` with ``piecewise_linear``, ``root_mean_square``,
  ``products`` and ``coupling``, ``crown``, ``alpha_crown`` with ``tangent_points``,
  ``second_order_bounds``, ``local_lipschitz``, ``local_chain`` with ``local_lipsdp``, and
  ``local_bounds``, which takes the least of them; ``branch_and_bound`` on inputs.
* The deployed arithmetic: ``arithmetics``, ``summation``, ``layer_errors``, and ``rounding``, which
  bounds what all of it adds; ``upward``: the arithmetic of the proofs.

What each of them proves: docs/explanation/mathematics.md.
"""
