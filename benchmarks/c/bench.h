/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench.h -- what the benchmark programs share: arguments, medians
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

/* Value of "--name N" among the arguments; @fallback if absent.  Ends the
 * program with a sentence if N is not a number above 0. */
uint64_t bench_option(int argc, char **argv, const char *name,
		      uint64_t fallback);

/* Median of @nr values; reorders them. */
double bench_median(double *values, size_t nr);

/* End the program with a sentence if @ret, a result of @what, is an error. */
void bench_check(int ret, const char *what);

#endif
