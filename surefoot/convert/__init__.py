"""Policies of training libraries, written as canonical controller files.

A converter runs where the policy was trained, with the library that trained it, and writes one
file, ``policy.onnx``, with normaliser, clip, squash and scale inside:

    python -m surefoot.convert.sb3 model.zip --normalize vecnormalize.pkl --out policy.onnx

* ``sb3`` (Stable-Baselines3), ``rsl_rl``, ``cleanrl``, ``torchscript`` and ``brax`` read the files
  of one library each.
* ``torch_layers`` makes layers of PyTorch modules, ``ends`` the normaliser and the head;
  ``conversion`` writes the file, once it agrees with the library's own answers to a thousand
  observations; ``command_line`` is what they share of their options and errors.

Checkpoints can hold pickles, which execute code when they are loaded. The library loads its own
files here; nothing else of surefoot imports this package.
"""
