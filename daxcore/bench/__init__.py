# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of the fault path, as run by ``daxcore bench``.

scenarios: what is done; work: to which pages, in which order; contenders: by
whom; runner: the rounds; report: JSON, table, sentence.  Import the module
you need: this file imports nothing, so that ``daxcore --help`` needs no numpy.
"""
